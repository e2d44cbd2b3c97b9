"""Data sets on disk, and the batches that training makes of them.

For others: `records.load_dataset`, `tfrecord.RecordSource`, `input_pipeline` (`train_batches`,
`eval_batches`), `mixtures.Mixtures`, `mixing.Mixing`, and `mix_plan`, whose draws `--remixes`
shares.

`mixtures` draws by `mix_plan`, reads by `stem_sources` and renders by `mix_render`.
"""
