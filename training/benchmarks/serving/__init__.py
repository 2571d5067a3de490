"""Our server beside the peers of ``shared/peers``, under one load driver: ``make bench``."""
