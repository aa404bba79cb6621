"""The test rig: real ranks, hosts, clusters, a hub, small disks, faults. For tests alone."""
