"""Places behind URLs, through fsspec: connecting, trying again, putting files whole. It knows neither sources nor runs."""
