"""Learned fusion and search: logged impressions in, a fusion bundle or better weights out."""
