"""From a waveform or a file to its stems: whole, in windows, as a stream.

For others: `separator.Separator`, `streamer.Streamer`, `song_files.separate_file`.
"""
