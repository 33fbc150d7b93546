"""Actions as the texts of a log's messages: what was asked for, what was sent, and the notes of the step.

The counterpart of `row_texts`. Notes have no spec of their own, so the first action of an episode fixes theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robolearn.data import encoding
from robolearn.data.log_topics import Topics
from robolearn.errors import SpecError
from robolearn.specs import Arrays, ArraySpec, Spec

__all__ = ["ActionTexts"]


class ActionTexts:
    """Encodes the actions of one episode.

    Args:
        spec: Of the actions.
        topics: Where the notes are declared, with the first action.
    """

    def __init__(self, spec: Spec, topics: Topics):
        self._topics = topics
        self._requested = encoding.GroupEncoder(spec, "requested action", finite=False)
        self._sent = encoding.GroupEncoder(spec, "sent action")
        self._notes: dict[str, ArraySpec] | None = None

    def texts(self, requested: Arrays, sent: Arrays, notes: Arrays) -> Iterator[tuple[str, str]]:
        """Topic and text of each message; all are checked before the first is given.

        Raises:
            SpecError: Names, shapes or types do not fit, or a number that was sent is not finite.
        """
        if "actor" not in notes:
            raise SpecError(
                f"The notes of an action must hold 'actor', an Actor code; found {sorted(notes) or 'none'}."
            )
        texts = self._requested.texts(requested)
        asked = self._requested.nested(texts)
        done = self._sent.nested(self._sent.texts(sent, (requested, texts)))
        notes = {"actor": np.asarray(notes["actor"], np.int8)} | {k: v for k, v in notes.items() if k != "actor"}
        spec = self._notes if self._notes is not None else encoding.note_spec(notes)
        noted = encoding.notes_text(notes, spec)
        if self._notes is None:
            self._notes = spec
            self._topics.declare_notes(spec)
        return iter((("/requested", asked), ("/sent", done), ("/note", noted)))
