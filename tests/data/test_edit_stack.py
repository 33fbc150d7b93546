"""Any sequence of edits, undos and openings of a store agrees with a model of a few lines."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from robolearn.data.store import Store
from robolearn.episode import EpisodeMeta, Outcome, Reading
from robolearn.specs import ArraySpec


class Edits(RuleBasedStateMachine):
    """The journal agrees with a model that keeps a stack of whole states, also after opening it again."""

    @initialize()
    def start(self):
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.create(Path(self.folder.name) / "s", durable=False)
        self.ids = []
        for k in range(3):
            meta = EpisodeMeta("t", "do it", 20.0)
            writer = self.store.record(meta, {"arm.q": ArraySpec((2,))}, {"arm.v": ArraySpec((1,))})
            for now in (0.0, 1.0):
                writer.observation(Reading(now, {"arm.q": np.full(2, float(k))}))
                if now == 0.0:
                    writer.action({"arm.v": np.zeros(1)}, {"arm.v": np.zeros(1)}, {"actor": np.array(0, np.int8)})
            self.ids.append(writer.commit(Outcome.SUCCESS))
        self.edits = []

    def _model(self):
        deleted, splits, tags = set(), {}, {i: set() for i in range(3)}
        for op, i, word in self.edits:
            if op == "delete":
                deleted.add(i)
            elif op == "restore":
                deleted.discard(i)
            elif op == "split":
                splits[i] = word
            else:
                tags[i].add(word)
        return deleted, splits, tags

    @rule(op=st.sampled_from(["delete", "restore", "split", "tag"]), i=st.integers(0, 2), word=st.sampled_from("ab"))
    def edit(self, op, i, word):
        arguments = {"delete": (), "restore": (), "split": (word,), "tag": ((word,),)}[op]
        getattr(self.store, op)(self.ids[i], *arguments)
        self.edits.append((op, i, word))

    @rule()
    def undo(self):
        assert (self.store.undo() is None) == (not self.edits)
        self.edits[-1:] = []

    @precondition(lambda self: self.edits)
    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(self.store.path, durable=False)

    @invariant()
    def agrees(self):
        deleted, splits, tags = self._model()
        assert self.store.ids() == [id for i, id in enumerate(self.ids) if i not in deleted]
        for i, id in enumerate(self.ids):
            assert self.store.split_of(id) == splits.get(i, "")
            assert self.store.tags_of(id) == tags[i]

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)
