"""Train, evaluate and sample a decoder-only transformer on books, on Horovod."""
