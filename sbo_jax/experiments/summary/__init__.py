"""One page over many experiments, from the report.json of each and from what others published."""

from .command import SummaryConfig as SummaryConfig
from .command import summarise as summarise
