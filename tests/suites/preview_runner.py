"""What every runner of previews promises."""

from service.ranking.blocks import parts_of
from tests.errands import first, nothing, total
from tests.kept import job, kept_request


class PreviewRunnerSuite:
    """Inherit, and give a fixture ``run``."""

    async def test_the_work_sees_every_part_once_and_in_order(self, run):
        assert await run(list, iter([3, 1, 2]), budget_s=60.0) == [3, 1, 2]
        assert await run(total, iter([3, 1, 2]), budget_s=60.0) == 6

    async def test_work_may_leave_parts_unread(self, run):
        assert await run(first, (bytes(100_000) for _ in range(50)), budget_s=60.0) == bytes(100_000)

    async def test_without_parts_the_work_still_runs(self, run):
        assert await run(nothing, iter([]), budget_s=60.0) == []

    async def test_a_preview_is_the_same_wherever_it_runs(self, run):
        requests = [kept_request([0.1, 0.2, 0.3], price=[3.0, 1.0, 2.0], age=each) for each in range(50)]
        work = job("ctr", "rank(price) + 0.5 * ctr", requests=requests, segment_by="device")

        assert await run(work, parts_of(requests, rows=30), budget_s=60.0) == work(parts_of(requests, rows=30))
