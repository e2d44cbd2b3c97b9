import numpy as np

from jaxsep.data.input_pipeline import eval_batches, train_batches


def first_batches(dataset, **changes):
    fields = {"batch_size": 4, "crop_frames": 40, "seed": 0, **changes}
    batches = train_batches(dataset, **fields)
    return [next(batches) for _ in range(3)]


def test_two_processes_share_the_batches_of_one(tiny_dataset):
    whole = first_batches(tiny_dataset)
    shares = [first_batches(tiny_dataset, process_index=i, process_count=2) for i in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for name in batch:
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, batch[name])


def test_the_seed_decides_the_batches(tiny_dataset):
    one, same, other = (first_batches(tiny_dataset, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[2]["mixture"], same[2]["mixture"])
    assert np.abs(one[2]["mixture"] - other[2]["mixture"]).max() > 0


def test_short_segments_are_padded_and_counted(tiny_dataset):
    frames = tiny_dataset.manifest["settings"]["segment_frames"]
    batches = first_batches(tiny_dataset, crop_frames=frames, batch_size=6)
    counts = np.concatenate([batch["num_frames"] for batch in batches])
    assert counts.min() < counts.max() == frames
    for batch in batches:
        for magnitude, count in zip(batch["mixture"], batch["num_frames"], strict=True):
            assert not magnitude[count:].any()


def test_evaluation_sees_each_segment_once(tiny_dataset):
    tracks, frames = [], 0
    for batch in eval_batches(tiny_dataset, "validation", batch_size=2):
        tracks += batch["track"].tolist()
        frames += int(batch["num_frames"].sum())
    assert tracks == [0, 0, 0, -1]
    assert frames == tiny_dataset.stft.num_frames(5 * 8000)


def test_the_batches_go_on_anywhere(tiny_dataset):
    whole, later = first_batches(tiny_dataset), first_batches(tiny_dataset, first_batch=2)
    for name, value in whole[2].items():
        np.testing.assert_array_equal(later[0][name], value)
