"""HTTP only: bodies in, bodies out, errors to statuses."""
