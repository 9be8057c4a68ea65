"""From encoded bytes to the pixels that an encoder takes."""

from clipsieve.images.blocklist import BlockList, load_block_list
from clipsieve.images.decode import DecodeLimits, decode
from clipsieve.images.fitted import decode_fitted
from clipsieve.images.preprocess import fit_to_recipe

__all__ = ["BlockList", "DecodeLimits", "decode", "decode_fitted", "fit_to_recipe", "load_block_list"]
