"""A LangGraph checkpointer over our store: `examples/checkpoints.rs` keeps, this translates.

As a program it runs LangGraph's conformance suite: `saver.py BRIDGE STORE`.
"""

import asyncio
import base64
import json
import sys

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.conformance import checkpointer_test, validate

# Ours goes by when a write was made; LangGraph's goes by the task's path first.
PATH, TASK, INDEX = "path", "task", "index"


class Bridge:
    """A child process that answers a line with a line, one at a time."""

    def __init__(self, process):
        self.process = process
        self.lock = asyncio.Lock()

    @classmethod
    async def start(cls, program, store):
        pipe = asyncio.subprocess.PIPE
        limit = 64 * 1024 * 1024
        return cls(await asyncio.create_subprocess_exec(program, store, stdin=pipe, stdout=pipe, limit=limit))

    async def ask(self, op, **request):
        async with self.lock:
            self.process.stdin.write(json.dumps({"op": op, **request}).encode() + b"\n")
            await self.process.stdin.drain()
            answer = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 30))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    async def stop(self):
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), 30)


class AgentrySaver(BaseCheckpointSaver):
    def __init__(self, bridge):
        super().__init__()
        self.bridge = bridge

    def pack(self, value):
        kind, data = self.serde.dumps_typed(value)
        return [kind, base64.b64encode(data).decode()]

    def unpack(self, packed):
        kind, data = packed
        return self.serde.loads_typed((kind, base64.b64decode(data)))

    async def aput(self, config, checkpoint, metadata, new_versions):
        at = config["configurable"]
        checkpoint = checkpoint.copy()
        values = checkpoint.pop("channel_values")
        await self.bridge.ask(
            "put",
            thread=at["thread_id"],
            ns=at.get("checkpoint_ns", ""),
            id=checkpoint["id"],
            parent=at.get("checkpoint_id"),
            metadata=get_checkpoint_metadata(config, metadata),
            checkpoint=self.pack(checkpoint),
            values={name: self.pack(values[name]) if name in values else None for name in new_versions},
        )
        return place(at["thread_id"], at.get("checkpoint_ns", ""), checkpoint["id"])

    async def aput_writes(self, config, writes, task_id, task_path=""):
        at = config["configurable"]
        packed = [
            [WRITES_IDX_MAP.get(channel, index), channel, self.pack(value)]
            for index, (channel, value) in enumerate(writes)
        ]
        await self.bridge.ask(
            "writes", thread=at["thread_id"], id=at["checkpoint_id"], task=task_id, path=task_path, writes=packed
        )

    async def aget_tuple(self, config):
        at = config["configurable"]
        here = {**config, "configurable": {**at, "checkpoint_ns": at.get("checkpoint_ns", "")}}
        async for found in self.alist(here, limit=1):
            return found
        return None

    async def alist(self, config, *, filter=None, before=None, limit=None):
        at = config["configurable"] if config else {}
        found = await self.bridge.ask(
            "list",
            thread=at.get("thread_id"),
            ns=at.get("checkpoint_ns"),
            id=get_checkpoint_id(config) if config else None,
            filter=filter or {},
            before=get_checkpoint_id(before) if before else None,
            max=limit,
        )
        for one in found:
            yield self.tuple(one)

    def tuple(self, found):
        checkpoint = self.unpack(found["checkpoint"])
        known = checkpoint["channel_versions"]
        values = {k: self.unpack(v) for k, v in found["values"].items() if k in known and v is not None}
        latest = {}
        for write in found["writes"]:
            latest[(write[PATH], write[TASK], write[INDEX])] = write
        here = found["thread"], found["ns"]
        return CheckpointTuple(
            config=place(*here, found["id"]),
            checkpoint={**checkpoint, "channel_values": values},
            metadata=found["metadata"],
            parent_config=place(*here, found["parent"]) if found["parent"] else None,
            pending_writes=[
                (write[TASK], write["channel"], self.unpack(write["value"])) for _, write in sorted(latest.items())
            ],
        )

    async def adelete_thread(self, thread_id):
        await self.bridge.ask("delete", thread=thread_id)

    async def adelete_for_runs(self, run_ids):
        await self.bridge.ask("delete_runs", runs=list(run_ids))

    async def acopy_thread(self, source_thread_id, target_thread_id):
        await self.bridge.ask("copy", **{"from": source_thread_id, "to": target_thread_id})

    async def aprune(self, thread_ids, *, strategy="keep_latest"):
        await self.bridge.ask("prune", threads=list(thread_ids), all=strategy == "delete")


def place(thread, ns, checkpoint):
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint}}


async def main(program, store):
    @checkpointer_test(name="Agentry")
    async def ours():
        bridge = await Bridge.start(program, store)
        yield AgentrySaver(bridge)
        await bridge.stop()

    report = await validate(ours)
    report.print_report()
    print("base:", report.passed_all_base(), "all:", report.passed_all())
    sys.exit(0 if report.passed_all() else 1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
