"""What a row or a sample writes: only what is new, in the words of the log.

A row shows of every array the last sample before it in the file. So a value that was written already is not written
again; a row that shows an older sample than the last (the policy saw that one) writes it once more under its own
capture time; and a picture is its number in the video.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping

import numpy as np

from robolearn.data import encoding
from robolearn.data.freshness import NO_COUNTER
from robolearn.data.pictures import Pictures
from robolearn.errors import BadEpisode, SpecError
from robolearn.specs import Arrays, Spec, select

__all__ = ["RowTexts"]

_RECENT = 64  # streamed samples a row may refer back to


class RowTexts:
    """Remembers what is in the file already.

    Args:
        spec: Of the observations.
        pictures: Takes the frames.
    """

    def __init__(self, spec: Spec, pictures: Pictures):
        self._spec, self._pictures = spec, pictures
        devices = encoding.split_by_device(spec)
        self._plan = [
            (device, [(f'"{field}":', name) for field, name in fields.items()]) for device, fields in devices.items()
        ]
        self._keys = {name: (device, key) for device, fields in self._plan for key, name in fields}
        self._whole = encoding.GroupEncoder(spec, "observation")
        self._parts: dict[frozenset[str], encoding.GroupEncoder] = {}  # without these arrays
        self._samples: dict[tuple[str, ...], encoding.GroupEncoder] = {}
        self._newest: dict[str, tuple[int, str]] = {}  # per array the last sample in the file
        self._streamed: dict[str, deque[tuple[int, str]]] = {}  # per array the last samples that came by `sample`

    def sample(self, arrays: Arrays, captured_ns: int, counter: int) -> tuple[str, str] | None:
        """Device and text of a sample between rows; None when nothing of it is new (see `LogWriter.sample`).

        Raises:
            SpecError: Arrays of several devices, or not as declared, or not finite.
            OSError: A video cannot be written.
        """
        names = tuple(arrays)
        if names not in self._samples:
            self._samples[names] = self._sample_encoder(names)
        texts = self._samples[names].texts(arrays)
        parts: list[str] = []
        for name in names:
            recent = self._streamed.setdefault(name, deque(maxlen=_RECENT))
            if name in self._pictures.spec:
                number = self._pictures.add(name, np.asarray(arrays[name]), captured_ns, counter)
                text = "" if number is None else str(number)
            else:
                text = texts[name] if not recent or captured_ns > recent[-1][0] else ""
            if text:
                parts.append(self._keys[name][1] + text)
                recent.append((captured_ns, text))
                self._newest[name] = (captured_ns, text)
        if not parts:
            return None
        if counter != NO_COUNTER:
            parts.append(f'"{encoding.COUNTER}":{counter}')
        return self._keys[names[0]][0], "{" + ",".join(parts) + "}"

    def _sample_encoder(self, names: tuple[str, ...]) -> encoding.GroupEncoder:
        spec = select(self._spec, names)
        devices = sorted({self._keys[name][0] for name in names})
        if len(devices) != 1:
            raise SpecError(f"A sample is of one device at one moment; found arrays of {devices or 'none'}.")
        return encoding.GroupEncoder(spec, f"sample of {devices[0]}")

    def row(self, arrays: Arrays, captured_ns: Mapping[str, int], time_ns: int) -> list[tuple[str, int, str]]:
        """Device, capture time and text of every message that a row needs; pictures are encoded on the way.

        Args:
            arrays: All observations; streamed ones may be left out.
            captured_ns: Capture times of arrays that have one of their own.
            time_ns: Time of the row.

        Raises:
            SpecError: They do not match the spec, or are not finite.
            BadEpisode: A camera has not delivered anything yet.
            OSError: A video cannot be written.
        """
        for name in captured_ns:
            if name not in self._spec:
                select(self._spec, [name])
        absent = frozenset(name for name, recent in self._streamed.items() if recent and name not in arrays)
        encoder = self._encoder(absent)
        texts = encoder.texts(arrays)  # checks the pictures too, before the first is encoded
        if not captured_ns and not self._pictures.spec and not self._streamed:  # the common, quick case
            return [(device, time_ns, text) for device, text in encoder.messages(texts)]
        fresh: list[tuple[str, int, str]] = []
        for device, fields in self._plan:
            groups: dict[int, list[str]] = {}
            for key, name in fields:
                own = name in captured_ns
                if name in absent and not own:
                    continue
                at_ns = captured_ns.get(name, time_ns)
                if name in self._streamed:
                    text = self._seen(name, at_ns, texts.get(name))
                elif name in self._pictures.spec:
                    number = self._pictures.add(name, np.asarray(arrays[name]), at_ns, keep=own)
                    text = "" if number is None else str(number)
                else:
                    text = texts[name]
                    if own and self._newest.get(name) == (at_ns, text):
                        text = ""
                if text:
                    self._newest[name] = (at_ns, text)
                    groups.setdefault(at_ns, []).append(key + text)
            fresh.extend((device, at_ns, "{" + ",".join(group) + "}") for at_ns, group in groups.items())
        if missing := [name for name in self._pictures.spec if name not in self._newest]:
            raise BadEpisode(f"There is no picture of {missing} yet; start the episode when every camera delivers.")
        return fresh

    def _encoder(self, absent: frozenset[str]) -> encoding.GroupEncoder:
        if not absent:
            return self._whole
        if absent not in self._parts:
            spec = {name: one for name, one in self._spec.items() if name not in absent}
            self._parts[absent] = encoding.GroupEncoder(spec, "observation")
        return self._parts[absent]

    def _seen(self, name: str, at_ns: int, text: str | None) -> str:
        """What to write so that a row shows the streamed sample captured at `at_ns`; "" when it does already."""
        if self._newest.get(name, (-1, ""))[0] == at_ns:
            return ""
        for captured_ns, known in reversed(self._streamed[name]):
            if captured_ns == at_ns:
                return known  # once more: a picture's number, or a few numbers
        return text or ""  # a picture that was lost; its track knows

    def frames(self, time_ns: int) -> str:
        """The "/frames" message of a row: per picture whether it is fresh, its counter and its age."""
        shown_ns = {name: self._newest[name][0] for name in self._pictures.spec}
        rows = self._pictures.rows(time_ns, shown_ns)
        return json.dumps(
            {
                name: {"state": state.name.lower(), "counter": counter, "age_ns": age_ns}
                for name, (state, counter, age_ns) in rows.items()
            }
        )
