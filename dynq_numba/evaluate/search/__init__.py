"""From looks at layers to a recipe: the cheapest mix of rungs under budgets of loss, size and time.

    units ──▶ a table: loss, bytes, work of every rung ──▶ a mix ──▶ quantized, measured ──▶ recipe and record
    layers.py   tables.py                                   choose.py   measure.py             record.py
                  ▲ errors of layers on the data, and what each costs the model when it alone is int8
"""

from .record import SearchRecord, read_record
from .searching import BATCH, search

__all__ = ["BATCH", "SearchRecord", "read_record", "search"]
