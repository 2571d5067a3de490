import asyncio

from service.runtime.cost import CostModel
from service.runtime.line import Line, Part, Ticket
from tests.factories import tiny_inputs
from tests.virtual_time import run_virtually


def in_line(line, number, *, due=1.0, rows=2, deadline=None):
    future = asyncio.get_running_loop().create_future()
    ticket = Ticket(future=future, arrived=0.0, deadline=deadline)
    part = Part(ticket=ticket, inputs=tiny_inputs(rows), place=(due, number, 0))
    ticket.parts.append(part)
    line.add(part)
    return part


def test_whoever_is_due_first_is_taken_first_and_equals_in_order_of_arrival():
    async def scenario():
        line = Line(max_batch_rows=100, model=CostModel())
        parts = [in_line(line, number, due=due) for number, due in enumerate((3.0, 1.0, 3.0, 2.0, 1.0))]
        batch, late = line.take(0.0, closing=False)
        return [parts.index(part) for part in batch.parts], late, (line.rows, line.requests, len(line))

    assert run_virtually(scenario()) == ([1, 4, 3, 0, 2], [], (0, 0, 0))


def test_whoever_has_left_a_moment_ago_is_neither_taken_nor_called_late():
    """Cancelled, and its task had no turn yet to leave the line."""

    async def scenario():
        line = Line(max_batch_rows=100, model=CostModel())
        left, stays = in_line(line, 0), in_line(line, 1)
        left.ticket.future.cancel()
        batch, late = line.take(0.0, closing=False)
        return batch.parts == [stays], late, line.rows

    assert run_virtually(scenario()) == (True, [], 0)


def test_a_part_that_is_taken_out_twice_is_counted_once():
    async def scenario():
        line = Line(max_batch_rows=100, model=CostModel())
        parts = [in_line(line, number, rows=number + 1) for number in range(3)]
        line.remove(parts[1])
        line.remove(parts[1])
        return line.rows, line.requests, len(line)

    assert run_virtually(scenario()) == (4, 2, 2)


def test_a_line_of_people_whose_time_is_over_gives_no_batch():
    async def scenario():
        line = Line(max_batch_rows=100, model=CostModel())
        parts = [in_line(line, number, deadline=1.0) for number in range(3)]
        batch, late = line.take(1.0, closing=False)
        return batch, late == [part.ticket for part in parts], line.rows

    assert run_virtually(scenario()) == (None, True, 0)
