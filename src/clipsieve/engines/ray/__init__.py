"""Scans that outgrow one machine, on a Ray cluster. It needs the ray extra; nothing of it is imported before it is asked for."""

from clipsieve.encoders import EncoderChoice
from clipsieve.engines.ray.cluster import RayCluster
from clipsieve.engines.ray.encoder import RayEncoder
from clipsieve.engines.ray.engine import RayEngine
from clipsieve.engines.ray.layout import Layout, Node, Wanted, lay_out
from clipsieve.engines.ray.opening import open_ray

__all__ = ["EncoderChoice", "Layout", "Node", "RayCluster", "RayEncoder", "RayEngine", "Wanted", "lay_out", "open_ray"]
