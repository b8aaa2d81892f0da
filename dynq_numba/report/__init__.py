"""One page of HTML for people who were not there: what was quantized, what it cost, where, and whether it may ship.

It knows plain data only: what `to_json` of a receipt, a comparison, a gate, a search and timings gives. Needs the extra
`report`.
"""

from .page import page as page
from .page import write as write
