"""The sessions as ``spine inventory`` has them, at a price that a scrape every few seconds can pay.

What it is: ``QuickTaking`` judges as the inventory does, and remembers what Dagster's event log said of each partition:
only those are looked up again of which there are new events, or whose run was under way or had failed. Where nothing
has changed since, the judgement is the last one.
Belongs here: that memory, and which one word a session has in the metrics. Does not belong here: the judgement
(``market_spine.ledger.inventory``).
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from market_spine.calendar import ZONE_NAME
from market_spine.ledger import tags
from market_spine.ledger.backfills import asset_key
from market_spine.ledger.inventory import Inventory, Recorded, SessionFacts, Status, Taking
from market_spine.warehouse.engine import Connection
from market_spine.warehouse.sql import statements

SQL = statements("market_spine.observability", "metrics.sql")
TYPES = ("ASSET_MATERIALIZATION", "ASSET_MATERIALIZATION_PLANNED")
COMPLETE = "complete"
"""All tables have the session and nothing stands against it. The other words are the inventory's own."""
STATES = (COMPLETE, *(str(status) for status in Status if status is not Status.PRESENT))
OVERLAP = 500
"""Events that are looked at again: an id is given out before its event is committed."""

Partition = tuple[str, date]
Evidence = tuple[Mapping[date, SessionFacts], Mapping[Partition, Recorded], datetime]


@dataclass
class Memory:
    """What the event log said of each partition up to an event (0: nothing was read yet), and the last judgement."""

    last_event: int = 0
    recorded: dict[Partition, Recorded] = field(default_factory=dict)
    judged: "tuple[Evidence, Counter[str]] | None" = None


@dataclass(frozen=True)
class QuickTaking(Taking):
    """An inventory that remembers.

    Args:
        memory: kept by the caller from one inventory to the next; of one thread at a time.
    """

    memory: Memory

    def states(self, held: Mapping[date, SessionFacts], now: datetime) -> Counter[str]:
        """Sessions by state: ``complete``, else what the first of the tables that is not as it should be is.

        Args:
            held: what the market tables have.
            now: the moment; what is due changes on the hour.

        Raises:
            LedgerError: Dagster's database does not answer.
        """
        self._look()
        evidence = held, dict(self.memory.recorded), now.replace(minute=0, second=0, microsecond=0)
        if self.memory.judged is None or self.memory.judged[0] != evidence:
            self.memory.judged = evidence, self._by_state(self.take(held, now))
        return self.memory.judged[1]

    def _by_state(self, inventory: Inventory) -> Counter[str]:
        words: dict[date, Status] = {}
        for item in inventory.items:  # asset by asset, in the order in which they are built
            if words.get(item.day, Status.PRESENT) is Status.PRESENT:
                words[item.day] = item.status
        return Counter(COMPLETE if word is Status.PRESENT else str(word) for word in words.values())

    def _recorded(self, since: date) -> tuple[dict[Partition, Recorded], dict[date, str]]:
        """In place of the inventory's own reading: what was found out last. Reasons are for people."""
        return {partition: one for partition, one in self.memory.recorded.items() if partition[1] >= since}, {}

    def _look(self) -> None:
        """Bring the memory up to date."""
        memory = self.memory
        with self.ledger.connect() as connection:
            last = int(str((connection.execute(SQL("last_event")).fetchone() or (0,))[0]))
            if not 0 < memory.last_event <= last:  # nothing was read yet, or the database is another one
                memory.recorded.clear()
                asked = self._all(connection)
            else:
                asked = self._changed(connection)
            for partition, recorded in self._looked_up(connection, asked).items():
                if recorded.is_materialized or recorded.active or recorded.failed:
                    memory.recorded[partition] = recorded
                else:
                    memory.recorded.pop(partition, None)
        memory.last_event = last

    def _all(self, connection: Connection) -> set[Partition]:
        values = {"keys": self._keys, "types": list(TYPES)}
        first = (connection.execute(SQL("first_partition"), values).fetchone() or (None,))[0]
        if first is None:
            return set()
        days = self.calendar.sessions(date.fromisoformat(str(first)), datetime.now(UTC).date())
        return {(asset, day) for asset in self.assets for day in days}

    def _changed(self, connection: Connection) -> set[Partition]:
        values = {"keys": self._keys, "types": list(TYPES), "after": self.memory.last_event - OVERLAP}
        rows = connection.execute(SQL("changed_partitions"), values).fetchall()
        unsettled = {partition for partition, one in self.memory.recorded.items() if one.active or one.failed}
        return unsettled | {(_asset(key), date.fromisoformat(str(day))) for key, day in rows}

    def _looked_up(self, connection: Connection, asked: Collection[Partition]) -> dict[Partition, Recorded]:
        if not asked:
            return {}
        values = {
            "keys": [asset_key(asset) for asset, _ in asked],
            "partitions": [str(day) for _, day in asked],
            "under_way": list(tags.UNDER_WAY),
        }
        rows = connection.execute(SQL("partitions"), values).fetchall()
        return {
            (_asset(key), date.fromisoformat(str(day))): Recorded(
                bool(made), _text(active), _text(status), _text(failed)
            )
            for key, day, made, active, status, failed in rows
        }

    @property
    def _keys(self) -> list[str]:
        return [asset_key(asset) for asset in self.assets]


def overdue(held: Mapping[date, SessionFacts], taking: Taking, now: datetime) -> int:
    """Sessions past their hour whose metrics are not there, from the first one that the tables know of.

    Whatever the reason, and whether or not something is being done about it: by the hour they should have been there.
    """
    metrics = taking.assets[-1]
    first = min((day for day in held if taking.calendar.is_session(day)), default=None)
    if first is None:
        return 0
    local = now.astimezone(ZoneInfo(ZONE_NAME))
    days = taking.calendar.sessions(first, local.date() - timedelta(days=1)) if first < local.date() else ()
    return sum(
        1 for day in days if taking.due_at(day) <= local and (day not in held or metrics not in held[day].assets)
    )


def _asset(key: object) -> str:
    return str(key)[2:-2]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
