"""Programs compiled for machines that are not here: whether they fit, and where devices meet."""

from .machines import Machine as Machine
from .machines import machine as machine
from .programs import Program as Program
from .programs import programs as programs
from .programs import sweep_programs as sweep_programs
from .verdict import Verdict as Verdict
from .verdict import examine as examine
