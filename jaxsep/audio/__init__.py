"""Sound in files: reading, writing, changes of rate, and work ahead of its consumer.

For others: `reader.AudioReader`, `reader.read_audio`, `writer.AudioWriter`, `writer.choose_format`,
`resampler.Resampler`, `prefetch.prefetch`; `reader.AudioError` is what goes wrong. Behind the
reader stand two decoders, `ffmpeg` and `sndfile`; behind the writer, `encoders`.
"""
