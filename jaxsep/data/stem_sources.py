"""Where the stems of a mixture come from: shards on disk, or the memory of the devices."""

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from jaxsep.data.mix_plan import NOTHING, MixPlanner, Plan
from jaxsep.data.tfrecord import RecordSource
from jaxsep.data.training_data import TrainingData
from jaxsep.sharding import replicated

READ_OPTIONS = grain.ReadOptions(num_threads=8, prefetch_buffer_size=16)


class StemFiles:
    """Reads the stems of mixtures from the shards of a split.

    Args:
      data: Data sets of waveforms; plans number their records from one to the next.
      split: Split that mixtures are planned of.

    Attributes:
      bank: None; what `StemBank` has on the devices lies in the batches here.
    """

    bank = None

    def __init__(self, data: TrainingData, split: str):
        self._codec, self._channels = data.sets[0].codec, data.stft.channels
        self._source = RecordSource(data.shards(split))

    def load(self, plan: Plan, planner: MixPlanner) -> Plan:
        """Adds `waveforms` to a plan: int16 `[stems, takes, chunk, channels]`, from `starts` on."""
        shape, chunk = plan["records"].shape, planner.chunk
        records = plan["records"].ravel().tolist()
        whole = [self._read(record) for record in records]
        plan = planner.place(plan, np.reshape([len(wave) for wave in whole], shape))
        waveforms = np.zeros((len(records), chunk, self._channels), np.int16)
        for waveform, wave, start in zip(waveforms, whole, plan["starts"].ravel(), strict=True):
            part = wave[start : start + chunk]
            waveform[: len(part)] = part
        return {**plan, "waveforms": waveforms.reshape(*shape, *waveforms.shape[1:])}

    def _read(self, record: int) -> np.ndarray:
        if record == NOTHING:
            return np.zeros((0, self._channels), np.int16)
        return self._codec.decode(self._source[record])["waveform"]


class StemBank:
    """Holds the stems of a split in the memory of each device; the host only draws numbers.

    Args:
      data: Data sets of waveforms: 176 kB a second of stereo at 44.1 kHz, where each record takes
        as much as the longest segment. Plans number their records from one data set to the next.
      split: Split that mixtures are planned of.
      mesh: Devices.

    Attributes:
      bank: int16 `[records, samples, channels]`, on every device.
    """

    def __init__(self, data: TrainingData, split: str, mesh: Mesh):
        source, codec = RecordSource(data.shards(split)), data.sets[0].codec
        longest = max(dataset.segment_samples for dataset in data.sets)
        waveforms = np.zeros((len(source), longest, data.stft.channels), np.int16)
        self._lengths = np.zeros(len(source), np.int32)
        decoded = grain.MapDataset.source(source).map(codec.decode)
        for number, example in enumerate(decoded.to_iter_dataset(READ_OPTIONS)):
            self._lengths[number] = len(example["waveform"])
            waveforms[number, : self._lengths[number]] = example["waveform"]
        # Unlike device_put, this doesn't compare what the processes have, gigabytes each.
        self.bank = jax.make_array_from_callback(
            waveforms.shape, replicated(mesh), waveforms.__getitem__
        )

    def load(self, plan: Plan, planner: MixPlanner) -> Plan:
        """Completes a plan; the waveforms stay in the bank."""
        return planner.place(plan, self._lengths[plan["records"]])
