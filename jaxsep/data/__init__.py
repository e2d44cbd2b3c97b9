"""Data sets on disk, and the batches that training makes of them.

For others: `records.load_dataset`, `tfrecord.RecordSource`, `input_pipeline` (`train_batches`,
`eval_batches`, `Mixtures`), `mixing.Mixing`, and `mix_plan`, whose draws `--remixes` shares.

Mixtures are drawn in `mix_plan`, read by `stem_sources` and rendered by `mix_render`.
"""
