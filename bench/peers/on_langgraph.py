"""The shapes of `bench/src/bin/engine.rs` and `bench/src/bin/durable.rs` as graphs of LangGraph: what a step of theirs costs.

Run by `cargo xtask bench engine` with the Python of `bench/peers/install.sh langgraph`; prints the same lines.
"""

import asyncio
import json
import operator
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from typing import Annotated, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

LONG = 3.0
NAME = f"LangGraph {version('langgraph')}"


class State(TypedDict, total=False):
    n: int
    sum: Annotated[int, operator.add]
    steps: int
    bytes: int
    text: str
    items: Annotated[list, operator.add]


def figure(name, value, unit):
    print(json.dumps({"name": f"{NAME}: {name}", "value": round(value, 3), "unit": unit}), flush=True)


def counting(state):
    return {"n": state.get("n", 0) + 1}


def adding(state):
    return {"sum": 1}


def sequence(nodes):
    builder = StateGraph(State)
    for number in range(nodes):
        builder.add_node(f"n{number}", counting)
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    builder.add_edge(f"n{nodes - 1}", END)
    return builder.compile()


def looping(steps, schema=State):
    builder = StateGraph(schema)
    builder.add_node("f", counting)
    builder.add_edge(START, "f")
    builder.add_conditional_edges("f", lambda state: "f" if state["n"] < steps else END, ["f", END])
    return builder.compile()


def wide(keys):
    return TypedDict("Wide", {"n": int, **{f"key{number}": str for number in range(keys)}}, total=False)


def fan_out(width):
    builder = StateGraph(State)
    builder.add_node("join", adding)
    names = [f"n{number:04}" for number in range(width)]
    for name in names:
        builder.add_node(name, adding)
        builder.add_edge(START, name)
    builder.add_edge(names, "join")
    return builder.compile()


def sent(width):
    builder = StateGraph(State)
    builder.add_node("work", adding)
    builder.add_node("join", adding)
    builder.add_conditional_edges(START, lambda _: [Send("work", {"n": number}) for number in range(width)], ["work"])
    builder.add_edge("work", "join")
    return builder.compile()


def case(name, graph, steps, values=None):
    """Runs a graph of `steps` steps again and again."""
    values, config = values or {"n": 0}, {"recursion_limit": 100_000}
    graph.invoke(values, config)
    before, started, runs = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() - started < LONG:
        graph.invoke(values, config)
        runs += 1
    used, wall = time.process_time() - before, time.perf_counter() - started
    figure(f"{name}: processor time per step", used * 1e6 / (runs * steps), "us")
    figure(f"{name}: time per step", wall * 1e6 / (runs * steps), "us")


async def many(graph, count):
    before, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(graph.ainvoke({"n": 0}) for _ in range(count)))
    figure(f"{count} runs of 10 steps: runs per second", count / (time.perf_counter() - started), "1/s")
    used = time.process_time() - before
    figure(f"{count} runs of 10 steps: processor time per step", used * 1e6 / (count * 10), "us")


def durable(saver):
    """Each step replaces a kilobyte."""

    def step(state):
        n = state.get("n", 0) + 1
        return {"n": n, "text": chr(ord("a") + n % 26) * 1024}

    builder = StateGraph(State)
    builder.add_node("f", step)
    builder.add_edge(START, "f")
    builder.add_conditional_edges("f", lambda state: "f" if state["n"] < state["steps"] else END, ["f", END])
    return builder.compile(checkpointer=saver)


def appending(saver):
    def step(state):
        n = state.get("n", 0) + 1
        content = "".join(f"{(n << 32 | part) * 0x9E3779B97F4A7C15 % 2**64:016x}" for part in range(state["bytes"] // 16))
        return {"n": n, "items": [{"id": n, "content": content}]}

    builder = StateGraph(State)
    builder.add_node("f", step)
    builder.add_edge(START, "f")
    builder.add_conditional_edges("f", lambda state: "f" if state["n"] < state["steps"] else END, ["f", END])
    return builder.compile(checkpointer=saver)


def config(thread):
    return {"recursion_limit": 100_000, "configurable": {"thread_id": thread}}


async def at_once(folder, concurrent, steps):
    async with AsyncSqliteSaver.from_conn_string(os.path.join(folder, "many.db")) as saver:
        graph = durable(saver)
        await graph.ainvoke({"n": 0, "steps": 2}, config("warm"), durability="sync")
        before, started = time.process_time(), time.perf_counter()
        runs = (
            graph.ainvoke({"n": 0, "steps": steps}, config(f"run{number}"), durability="sync")
            for number in range(concurrent)
        )
        await asyncio.gather(*runs)
        all_steps = concurrent * steps
        per_second = all_steps / (time.perf_counter() - started)
        figure(f"SQLite: {concurrent} runs at once: steps per second", per_second, "1/s")
        used = (time.process_time() - before) * 1e6 / all_steps
        figure(f"SQLite: {concurrent} runs at once: processor time per step", used, "us")


def alone(folder, steps):
    with SqliteSaver.from_conn_string(os.path.join(folder, "alone.db")) as saver:
        graph = durable(saver)
        graph.invoke({"n": 0, "steps": 2}, config("warm"), durability="sync")
        started = time.perf_counter()
        graph.invoke({"n": 0, "steps": steps}, config("run"), durability="sync")
        figure("SQLite: one run alone: time per step", (time.perf_counter() - started) * 1e3 / steps, "ms")


def long_thread(folder, messages):
    with SqliteSaver.from_conn_string(os.path.join(folder, "long.db")) as saver:
        graph = appending(saver)
        graph.invoke({"n": 0, "steps": messages, "bytes": 200}, config("run"), durability="exit")
        took = []
        for _ in range(50):
            started = time.perf_counter()
            state = graph.get_state(config("run"))
            took.append(time.perf_counter() - started)
            assert len(state.values["items"]) == messages
        figure(f"SQLite: a thread of {messages} messages is loaded in", statistics.median(took) * 1e3, "ms")


def growth(folder, times, size):
    path = os.path.join(folder, "growth.db")
    with SqliteSaver.from_conn_string(path) as saver:
        appending(saver).invoke({"n": 0, "steps": times, "bytes": size}, config("run"), durability="sync")
    files = [file for file in (path, path + "-wal") if os.path.exists(file)]
    stored = sum(os.path.getsize(file) for file in files)
    figure(f"SQLite: {times} appends of {size // 1000} KB: storage for each byte", stored / (times * size), "x")


def main():
    case("sequence of 100 nodes", sequence(100), 100)
    case("sequence of 1000 nodes", sequence(1_000), 1_000)
    case("loop of 1000 steps", looping(1_000), 1_000)
    keys = {f"key{number}": "value" for number in range(1_000)}
    case("1000 state keys", looping(100, wide(1_000)), 100, {"n": 0, **keys})
    case("static fan-out of 1000", fan_out(1_000), 1_001)
    case("sent fan-out of 1000", sent(1_000), 1_001)
    asyncio.run(many(looping(10), 1_000))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        asyncio.run(at_once(folder, 64, 20))
        alone(folder, 200)
        long_thread(folder, 1_000)
        growth(folder, 400, 40_000)


if __name__ == "__main__":
    main()
