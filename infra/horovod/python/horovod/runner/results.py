"""What the ranks of `horovod.run` returned or raised, out of the launcher's key-value server."""

from horovod.runner.common.util import codec

FUNCTION = ("runfunc", "func")
RESULT_SCOPE = "runfunc_result"
ERROR_SCOPE = "runfunc_error"


def collect_results(server, num_proc):
    """What the function returned on each rank, by rank.

    Raises:
        RuntimeError: a rank ended well and returned nothing: it called sys.exit or os._exit.
    """
    results = _values(server, RESULT_SCOPE)
    missing = [rank for rank in range(num_proc) if rank not in results]
    if missing:
        ranks = ", ".join(map(str, missing))
        reason = explain_errors(server) or "The process ended inside the function.\n"
        raise RuntimeError(f"The function did not return on rank {ranks}.\n{reason}")
    return [results[rank] for rank in range(num_proc)]


def explain_errors(server):
    """What the function raised on each rank where it did, as text; empty if nowhere."""
    errors = _values(server, ERROR_SCOPE)
    return "".join(f"On rank {rank}: {text.rstrip()}\n" for rank, text in sorted(errors.items()))


def _values(server, scope):
    with server.httpd.cache_lock:
        values = dict(server.httpd.cache.get(scope, {}))
    return {int(key): codec.loads_base64(value) for key, value in values.items()}
