"""One file per data set, named as the user names it: a dataclass ``Config`` and ``read(config, places) -> Source``."""
