"""A day's files are read strictly: whatever is wrong is refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.reader import DayInvalid, read

GOOD = {
    "restaurants.txt": "restaurant\tx\ty\nr1\t100\t200\nr2\t300.5\t-20\n",
    "couriers.txt": "courier\tx\ty\ton_time\toff_time\nc1\t0\t0\t0\t90\n",
    "orders.txt": (
        "order\tx\ty\tplacement_time\trestaurant\tready_time\no1\t10\t20\t30\tr1\t45\no2\t10\t20\t12\tr2\t12\n"
    ),
    "instance_parameters.txt": (
        "meters_per_minute\tpickup service minutes\tdropoff service minutes\ttarget click-to-door\t"
        "maximum click-to-door\tpay per order\tguaranteed pay per hour\n320\t4\t4\t40\t90\t10\t15\n"
    ),
}


def folder(tmp_path: Path, **changed: str | bytes | None) -> Path:
    for name, text in GOOD.items():
        content = changed.get(name.removesuffix(".txt"), text)
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def test_a_good_day_is_read_with_its_orders_in_order_of_placement(tmp_path: Path) -> None:
    day = read(folder(tmp_path))
    assert [o.name for o in day.orders] == ["o2", "o1"]
    assert day.by_restaurant["r2"].x == 300.5
    assert day.couriers[0].off == 90
    assert day.parameters.metres_per_minute == 320
    assert day.start == 0


def test_windows_line_ends_a_byte_order_mark_and_further_columns_are_fine(tmp_path: Path) -> None:
    text = "\ufeffrestaurant\tx\ty\tname\r\nr1\t1\t2\tNoodles\r\nr2\t1\t2\tTea\r\n\r\n"
    assert len(read(folder(tmp_path, restaurants=text)).restaurants) == 2


ORDERS = "order\tx\ty\tplacement_time\trestaurant\tready_time\n"
COURIERS = "courier\tx\ty\ton_time\toff_time\n"
RESTAURANTS = "restaurant\tx\ty\n"
PARAMETERS = GOOD["instance_parameters.txt"].splitlines()[0] + "\n"

BROKEN = {
    "missing file": ("orders", None, None, "missing"),
    "empty file": ("couriers", "", None, "empty"),
    "blank file": ("couriers", "\n\n", None, "empty"),
    "header alone": ("couriers", COURIERS, None, "no rows"),
    "missing column": ("restaurants", "restaurant\tx\nr1\t1\n", 1, "missing column y"),
    "column twice": ("restaurants", "restaurant\tx\ty\tx\nr1\t1\t2\t3\n", 1, "twice"),
    "commas instead of tabs": ("restaurants", "restaurant,x,y\nr1,1,2\n", 1, "missing column"),
    "too few cells": ("restaurants", RESTAURANTS + "r1\t1\t2\nr2\t1\n", 3, "2 cells"),
    "too many cells": ("restaurants", RESTAURANTS + "r1\t1\t2\t3\n", 2, "4 cells"),
    "empty row in between": ("restaurants", RESTAURANTS + "r1\t1\t2\n\nr2\t1\t2\n", 3, "1 cells"),
    "not UTF-8": ("restaurants", RESTAURANTS.encode() + b"r1\t1\t2\nr\xff\t1\t2\n", 3, "UTF-8"),
    "word instead of a number": ("restaurants", RESTAURANTS + "r1\tfar\t2\n", 2, "not a finite number"),
    "NaN": ("restaurants", RESTAURANTS + "r1\tNaN\t2\n", 2, "not a finite number"),
    "infinity": ("restaurants", RESTAURANTS + "r1\t1\tinf\n", 2, "not a finite number"),
    "overflow": ("restaurants", RESTAURANTS + "r1\t1\t1e99\n", 2, "from the origin"),
    "underscore in a number": ("restaurants", RESTAURANTS + "r1\t1_0\t2\n", 2, "not a finite number"),
    "wide digits": ("restaurants", RESTAURANTS + "r1\t１２\t2\n", 2, "not a finite number"),
    "empty number": ("restaurants", RESTAURANTS + "r1\t\t2\n", 2, "x is empty"),
    "empty name": ("restaurants", RESTAURANTS + " \t1\t2\n", 2, "restaurant is empty"),
    "duplicate restaurant": ("restaurants", RESTAURANTS + "r1\t1\t2\nr1\t3\t4\n", 3, "duplicate restaurant"),
    "duplicate courier": ("couriers", COURIERS + "c1\t0\t0\t0\t9\nc1\t0\t0\t0\t9\n", 3, "duplicate courier"),
    "off before on": ("couriers", COURIERS + "c1\t0\t0\t90\t30\n", 2, "not after on_time"),
    "shift of no length": ("couriers", COURIERS + "c1\t0\t0\t90\t90\n", 2, "not after on_time"),
    "negative shift": ("couriers", COURIERS + "c1\t0\t0\t-5\t90\n", 2, "on_time is not a minute"),
    "duplicate order": ("orders", ORDERS + "o1\t0\t0\t1\tr1\t2\no1\t0\t0\t1\tr1\t2\n", 3, "duplicate order"),
    "unknown restaurant": ("orders", ORDERS + "o1\t0\t0\t1\tr9\t2\n", 2, "unknown restaurant 'r9'"),
    "ready before placement": ("orders", ORDERS + "o1\t0\t0\t20\tr1\t10\n", 2, "before placement_time"),
    "negative placement": ("orders", ORDERS + "o1\t0\t0\t-1\tr1\t10\n", 2, "placement_time is not a minute"),
    "time of another week": ("orders", ORDERS + "o1\t0\t0\t1\tr1\t99999\n", 2, "ready_time is not a minute"),
    "two rows of parameters": ("instance_parameters", PARAMETERS + "320\t4\t4\t40\t90\t10\t15\n" * 2, 3, "exactly one"),
    "no speed": ("instance_parameters", PARAMETERS + "0\t4\t4\t40\t90\t10\t15\n", 2, "must be above 0"),
    "negative service": ("instance_parameters", PARAMETERS + "320\t-4\t4\t40\t90\t10\t15\n", 2, "at least 0"),
    "maximum below target": ("instance_parameters", PARAMETERS + "320\t4\t4\t40\t30\t10\t15\n", 2, "below the target"),
    "city as wide as a country": ("restaurants", RESTAURANTS + "r1\t150000\t0\nr2\t-150000\t0\n", None, "m wide"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refused_with_file_line_and_reason(tmp_path: Path, case: str) -> None:
    file, content, line, reason = BROKEN[case]
    with pytest.raises(DayInvalid) as refused:
        read(folder(tmp_path, **{file: content}))
    assert reason in refused.value.reason
    assert refused.value.line == line
    if case != "city as wide as a country":
        assert refused.value.file == f"{file}.txt"
        assert str(refused.value).startswith(f"{file}.txt:{'' if line is None else f'{line}:'}")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DayInvalid, match="is not a folder"):
        read(tmp_path / "nowhere")
