"""The pairing of two sets that costs least. torch and numpy are imported inside of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor as Values


def matched(costs: Values, there: Values) -> Values:
    """For each row of `costs` [n, rows, columns] that is `there`, a column of its own, so that the sum is
    least, int64 [n, rows]; -1 for the others, and for those that more rows than columns leave over. It is
    computed on the CPU.
    """
    import numpy as np
    import torch

    places = np.full(there.shape, -1, np.int64)
    tables, known = costs.double().nan_to_num().cpu().numpy(), there.cpu().numpy()
    for table, rows, place in zip(tables, known, places, strict=True):
        if rows.sum() <= table.shape[1]:
            place[rows] = assignment(table[rows])
        else:
            place[np.flatnonzero(rows)[assignment(table[rows].T)]] = np.arange(table.shape[1])
    return torch.from_numpy(places).to(costs.device)


def assignment(costs: NDArray[Any]) -> NDArray[np.int64]:
    """The column of each row of a table [rows, columns] of finite costs, whose sum is least: rows one by one
    by the shortest augmenting path (Jonker and Volgenant, 1987; Crouse, 2016).
    """
    import numpy as np

    rows, columns = costs.shape
    of_row, of_column = np.zeros(rows), np.zeros(columns)  # what the constraints are worth
    row_of, column_of = np.full(columns, -1), np.full(rows, -1)
    for start in range(rows):
        shortest, before = np.full(columns, np.inf), np.full(columns, -1)
        seen, visited = np.zeros(columns, bool), [start]
        row, length = start, 0.0
        while True:
            through = length + costs[row] - of_row[row] - of_column
            nearer = ~seen & (through < shortest)
            shortest[nearer], before[nearer] = through[nearer], row
            column = int(np.where(seen, np.inf, shortest).argmin())
            length = shortest[column]
            seen[column] = True
            if row_of[column] < 0:
                break
            row = int(row_of[column])
            visited.append(row)
        for each in visited:
            of_row[each] += length - (shortest[column_of[each]] if each != start else 0.0)
        of_column[seen] -= length - shortest[seen]
        while True:  # the path back gives each row on it the column that it came by
            row = int(before[column])
            row_of[column] = row
            column_of[row], column = column, column_of[row]
            if row == start:
                break
    return column_of.astype(np.int64)
