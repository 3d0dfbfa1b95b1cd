"""Order and variation of training data depend on seed and epoch alone."""

import torch
from torch.utils.data import Dataset

from snntorch_ecl.training._sampling import EpochSampler, Indexed


class Noise(Dataset[torch.Tensor]):
    """Each sample is a random number, as augmentation would draw it."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return index + torch.rand(())


def order(world: int, rank: int, epoch: int, seed: int = 0) -> list[tuple[int, int]]:
    sampler = EpochSampler(Noise(), num_replicas=world, rank=rank, seed=seed, drop_last=True)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_each_epoch_is_another_permutation_and_knows_its_number() -> None:
    first, second = order(1, 0, 0), order(1, 0, 1)
    assert {epoch for epoch, _ in second} == {1}
    assert sorted(index for _, index in first) == list(range(12))
    assert [index for _, index in first] != [index for _, index in second]


def test_seeds_give_other_orders_and_one_seed_the_same() -> None:
    assert order(1, 0, 0, seed=1) != order(1, 0, 0, seed=2)
    assert order(1, 0, 3, seed=1) == order(1, 0, 3, seed=1)


def test_two_processes_share_each_global_batch_of_one() -> None:
    alone, batch = order(1, 0, 5), 4
    parts = [order(2, rank, 5) for rank in (0, 1)]
    for start in range(0, 12, batch):
        together = [part[start // 2 : start // 2 + batch // 2] for part in parts]
        assert sorted(together[0] + together[1]) == sorted(alone[start : start + batch])


def test_a_samples_variation_depends_on_seed_epoch_and_index_alone() -> None:
    data = Indexed(Noise(), seed=3)
    first = data[2, 5]
    torch.rand(7)
    assert torch.equal(data[2, 5], first)
    others = {float(data[e, i] - i) for e, i in ((2, 6), (3, 5))}
    others.add(float(Indexed(Noise(), seed=4)[2, 5] - 5))
    assert len(others | {float(first - 5)}) == 4


def test_drawing_a_sample_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _ = Indexed(Noise(), seed=3)[0, 0]
    assert torch.equal(torch.rand(3), expected)
