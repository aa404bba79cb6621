"""Owns the hosts of a job before it starts: named, asked over ssh, compared, and their network."""
