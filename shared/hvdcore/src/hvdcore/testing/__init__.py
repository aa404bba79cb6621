"""Owns what tests use that is real: ranks, hosts, clusters, a hub, small disks, faults."""
