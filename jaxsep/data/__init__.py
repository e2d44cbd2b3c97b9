"""Data sets on disk, and the batches that training makes of them.

For others: `records.load_dataset`, `tfrecord.RecordSource`, `input_pipeline` (`train_batches`,
`eval_batches`), `mixing.Mixing`.
"""
