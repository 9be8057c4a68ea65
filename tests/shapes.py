"""How shapes and types in signatures are checked while tests run; `pyproject.toml` names it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # where a float is asked for, an int will do
