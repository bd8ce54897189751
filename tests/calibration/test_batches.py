import torch

from autoprune.calibration.batches import thinned


def test_part_of_a_split_lies_all_over_it():
    batches = [torch.full((16, 2), float(k)) for k in range(16)]
    part = thinned(batches, 1 / 8, least=64)
    assert [int(batch[0, 0]) for batch in part] == [0, 4, 8, 12]
    assert len(list(part)) == len(part) == 4
    assert [int(batch[0, 0]) for batch in thinned(batches, 1 / 8, least=0)] == [0, 8]


def test_part_of_a_split_has_at_least_one_batch():
    assert len(list(thinned([torch.zeros(500, 2)], 1 / 8, least=128))) == 1
    assert list(thinned(["a", "b", "c"], 1 / 8, least=128)) == ["a"]


def test_a_stream_without_a_length_is_read_one_batch_at_a_time():
    class Stream:
        held = 0

        def __iter__(self):
            for k in range(10):
                yield torch.full((4, 1), float(k))

    part = thinned(Stream(), 0.2, least=0)
    assert [int(batch[0, 0]) for batch in part] == [0, 5]
