"""Who computes where: devices as a mesh, processes as one, and the memory of a CPU."""

from .allocator import keep_freed_memory as keep_freed_memory
from .cores import use_all_cores as use_all_cores
from .mesh import make_mesh as make_mesh
from .mesh import parse_mesh as parse_mesh
from .processes import Processes as Processes
from .processes import join as join
