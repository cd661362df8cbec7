"""CSV tables in parts."""

import tracemalloc

import numpy as np
import pandas as pd

from merflow.storage.tables import SPLITS, read_table_in_parts, write_table_in_parts


def part(number, rows=4000):
    return pd.DataFrame({name: np.arange(rows) + number for name in SPLITS})


def peak_bytes(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_write_in_parts_holds_one_part(tmp_path):
    def write(parts):
        return lambda: write_table_in_parts((part(number) for number in range(parts)), tmp_path / "t.csv", SPLITS)

    write(1)()
    single, many = peak_bytes(write(1)), peak_bytes(write(12))
    assert many < 2 * single
    parts = list(read_table_in_parts(tmp_path / "t.csv", SPLITS, 4000))
    assert len(parts) == 12 and parts[11]["fold"].tolist() == [str(n) for n in range(11, 4011)]


def test_read_in_parts_holds_one_part(tmp_path):
    def read(file):
        return lambda: sum(len(table) for table in read_table_in_parts(file, SPLITS, 4000))

    files = []
    for parts in (1, 12):
        files.append(tmp_path / f"{parts}.csv")
        write_table_in_parts((part(number) for number in range(parts)), files[-1], SPLITS)
        read(files[-1])()
    single, many = map(peak_bytes, map(read, files))
    assert many < 3 * single
