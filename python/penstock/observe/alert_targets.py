"""Where alerts go: a function, a webhook, or one of the services that the apprise package knows."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from penstock.errors import ExtraMissingError, OptionError
from penstock.observe.alerts import name_of

if TYPE_CHECKING:
    from penstock.observe.alerts import Alert

__all__ = ["Refused", "Target", "target_of"]

TIMEOUT_S = 10.0


class Refused(Exception):
    """The other side has the message and does not want it; trying again is of no use."""


class Target(Protocol):
    """Takes alerts.

    Attributes:
        name: for messages; says nothing that is secret.
        is_address: whether a message leaves this process.
    """

    name: str
    is_address: bool

    def send(self, alerts: Sequence[Alert]) -> None:
        """Deliver alerts as one message, or raise; `Refused` when another try is of no use."""


def target_of(given: Any) -> Target:
    """Return the target that a function or an address stands for.

    Raises:
        OptionError: it is neither; an address is shown without what may be secret in it.
        ExtraMissingError: the address needs Apprise.
    """
    if callable(given):
        return _Function(given)
    if isinstance(given, str):
        scheme = given.partition("://")[0].lower()
        if scheme in ("http", "https"):
            return _Webhook(given)
        if "://" in given:
            return _Apprise(given)
    raise OptionError(
        f"alerts= was given {given!r}, which cannot be called and is no address; give a function of one Alert, "
        "a webhook such as 'https://host/path', or an address of Apprise such as 'mailto://user:password@host'."
    )


def _shown(url: str) -> str:
    """Return an address without user, password, path and query: a webhook's path is its password."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https"):
        host = "..."  # the place of the host may hold a token
    return f"{parts.scheme}://{host}/..."


class _Function:
    is_address = False

    def __init__(self, function: Callable[[Alert], object]) -> None:
        self._function = function
        self.name = name_of(function)

    def send(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self._function(alert)


class _Webhook:
    """POSTs JSON: `text` for people, which is all that Slack, Mattermost and Teams look at, and `alerts` for programs."""

    is_address = True

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if not parts.hostname:
            raise OptionError(
                f"alerts= was given {_shown(url)!r}, a webhook without a host; write 'https://host/path'."
            )
        self.name = _shown(url)
        self._headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "penstock"}
        if parts.username is not None:
            login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def send(self, alerts: Sequence[Alert]) -> None:
        body = {"text": _text(alerts), "pipeline": alerts[0].pipeline, "alerts": [_as_json(alert) for alert in alerts]}
        request = urllib.request.Request(self._url, json.dumps(body).encode(), self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                response.read(1024)
        except urllib.error.HTTPError as error:
            with error:
                said = f"HTTP status {error.code}"
            if error.code in (408, 425, 429) or error.code >= 500:
                raise ConnectionError(said) from None
            raise Refused(said) from None


class _Apprise:
    is_address = True

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError:
            raise ExtraMissingError("alerts", f"the alert address {_shown(url)}") from None
        self.name = _shown(url)
        self._apprise = apprise.Apprise()
        if not self._apprise.add(url):
            raise OptionError(
                f"alerts= was given {self.name!r}, an address that Apprise does not understand; "
                "its forms are listed at https://github.com/caronc/apprise/wiki."
            )

    def send(self, alerts: Sequence[Alert]) -> None:
        first = alerts[0]
        more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
        title = f"penstock: {first.pipeline}: {str(first.kind).replace('_', ' ')}{more}"
        if not self._apprise.notify(title=title, body=_text(alerts)):
            raise ConnectionError("Apprise could not deliver it; its own log, 'apprise', says why")


def _text(alerts: Sequence[Alert]) -> str:
    return "\n".join(str(alert) for alert in alerts)


def _as_json(alert: Alert) -> dict[str, object]:
    return {
        "kind": alert.kind.value,
        "pipeline": alert.pipeline,
        "task": alert.task,
        "attempt": alert.attempt,
        "cause": alert.cause.name.lower(),
        "error": None if alert.error is None else type(alert.error).__name__,
        "text": alert.text,
        "elapsed_s": round(alert.elapsed_s, 3),
        "count": alert.count,
        "others": list(alert.others),
    }
