"""What every server of reparam keeps: who may ask and how much, and that nothing of a request is opened or written."""

from reparam.web.binding import address, bind, check_binding, is_loopback, may_be_host, server
from reparam.web.guard import BODY, Guarded, Refused, Turn, pieces

__all__ = [
    "BODY",
    "Guarded",
    "Refused",
    "Turn",
    "address",
    "bind",
    "check_binding",
    "is_loopback",
    "may_be_host",
    "pieces",
    "server",
]
