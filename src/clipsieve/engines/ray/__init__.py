"""Scans that outgrow one machine, on a Ray cluster. It needs the ray extra; nothing of it is imported before it is asked for."""

from clipsieve.engines.ray.cluster import RayCluster
from clipsieve.engines.ray.encoder import RayEncoder
from clipsieve.engines.ray.engine import RayEngine
from clipsieve.engines.ray.layout import Layout, Wanted, lay_out

__all__ = ["Layout", "RayCluster", "RayEncoder", "RayEngine", "Wanted", "lay_out"]
