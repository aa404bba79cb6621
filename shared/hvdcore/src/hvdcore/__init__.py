"""Launch, data sharding, logging and the run record for trainers on Horovod."""
