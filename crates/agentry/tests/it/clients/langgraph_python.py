"""LangGraph's own client for Python over the agent that is always there, behind the provider of tests/it/support.rs."""

import threading
import time
import uuid

import langgraph_sdk
from langgraph_sdk import errors

from steps import BASE, finish, raises, same, step

client = langgraph_sdk.get_sync_client(url=BASE, timeout=20)
HELLO = {"messages": [{"role": "human", "content": "hello"}]}
ANSWER = "Hello to you."


def said(state):
    return [(message["type"], message["content"]) for message in state["messages"]]


def ask(text):
    return {"messages": [{"role": "user", "content": text}]}


def new_thread():
    return client.threads.create()["thread_id"]


assistant = client.assistants.search()[0]["assistant_id"]
# A graph of tests/it/clients.rs: it asks whether to publish.
ASK = {"topic": "bees"}


@step("the agent has an assistant of its own, under its name and an id")
def _():
    assert client.assistants.get("agent")["assistant_id"] == assistant
    assert client.assistants.count() == 2
    return same(client.assistants.get(assistant)["graph_id"], "agent")


@step("its graph and its schemas are shown")
def _():
    graph = client.assistants.get_graph(assistant, xray=True)
    edges = [(edge["source"], edge["target"]) for edge in graph["edges"]]
    assert edges == [("__start__", "model"), ("model", "__end__")], edges
    assert client.assistants.get_subgraphs(assistant) == {}
    return "messages" in client.assistants.get_schemas(assistant)["input_schema"]["properties"]


@step("assistants are made, changed, set back and deleted")
def _():
    made = client.assistants.create("agent", name="brief", metadata={"kind": "test"})
    own = made["assistant_id"]
    assert made["version"] == 1
    changed = client.assistants.update(own, config={"configurable": {"model": "fast"}})
    assert changed["version"] == 2 and changed["name"] == "brief"
    assert [it["version"] for it in client.assistants.get_versions(own)] == [2, 1]
    assert client.assistants.set_latest(own, 1)["config"] == {}
    assert len(client.assistants.search(metadata={"kind": "test"})) == 1
    client.assistants.delete(own)
    raises(errors.NotFoundError, lambda: client.assistants.get(own))
    return raises(errors.ConflictError, lambda: client.assistants.delete("agent")).status_code == 409


@step("a run is waited for, and the conversation goes on")
def _():
    thread = new_thread()
    first = client.runs.wait(thread, "agent", input=HELLO)
    assert said(first) == [("human", "hello"), ("ai", ANSWER)], first
    second = client.runs.wait(thread, assistant, input=HELLO)
    assert len({message["id"] for message in second["messages"]}) == 4, second
    return same(said(second), said(first) * 2)


@step("a run is streamed, in every mode")
def _():
    thread = new_thread()
    modes = ["values", "updates", "messages-tuple", "custom", "tasks", "checkpoints", "debug", "events"]
    parts = list(client.runs.stream(thread, "agent", input=HELLO, stream_mode=modes))
    names = {part.event for part in parts}
    assert names >= {"metadata", "values", "updates", "messages", "tasks", "checkpoints", "debug", "events", "end"}, names
    pieces = [part.data[0] for part in parts if part.event == "messages"]
    assert "".join(piece["content"] for piece in pieces if piece["type"] == "AIMessageChunk") == ANSWER, pieces
    last = [part.data for part in parts if part.event == "values"][-1]
    return same(said(last), [("human", "hello"), ("ai", ANSWER)])


@step("messages are streamed as they are so far")
def _():
    parts = list(client.runs.stream(new_thread(), "agent", input=ask("count"), stream_mode="messages"))
    partial = [part.data[0]["content"] for part in parts if part.event == "messages/partial"]
    assert len(partial) > 1 and all(later.startswith(sooner) for sooner, later in zip(partial, partial[1:]))
    return same(partial[-1], "one two three four five six seven eight nine ten")


@step("typed parts of the second version are understood")
def _():
    parts = list(client.runs.stream(new_thread(), "agent", input=HELLO, stream_mode="values", version="v2"))
    values = [part for part in parts if part["type"] == "values"]
    return same(said(values[-1]["data"])[-1], ("ai", ANSWER))


@step("a run says who it is before it says anything else")
def _():
    made = []
    thread = new_thread()
    list(client.runs.stream(thread, "agent", input=HELLO, on_run_created=made.append))
    run = client.runs.get(thread, made[0]["run_id"])
    return same((run["status"], made[0]["thread_id"]), ("success", thread))


@step("a run is begun, joined, looked at and listed")
def _():
    thread = new_thread()
    run = client.runs.create(thread, "agent", input=HELLO, metadata={"who": "me"})
    assert said(client.runs.join(thread, run["run_id"]))[-1] == ("ai", ANSWER)
    shown = client.runs.get(thread, run["run_id"])
    assert (shown["status"], shown["metadata"]["who"]) == ("success", "me"), shown
    listed = client.runs.list(thread, status="success")
    client.runs.delete(thread, run["run_id"])
    raises(errors.NotFoundError, lambda: client.runs.get(thread, run["run_id"]))
    return same([it["run_id"] for it in listed], [run["run_id"]])


@step("whoever joins a stream late reads all of it, or what came after the event it names")
def _():
    thread = new_thread()
    run = client.runs.create(thread, "agent", input=HELLO, stream_mode=["values", "updates"], stream_resumable=True)
    everything = list(client.runs.join_stream(thread, run["run_id"]))
    assert everything[0].event == "metadata" and everything[-1].event == "end", everything
    seen = next(part for part in everything if part.event == "values")
    rest = list(client.runs.join_stream(thread, run["run_id"], last_event_id=seen.id))
    expected = everything[everything.index(seen) + 1 :]
    return same([(part.event, part.data) for part in rest], [(part.event, part.data) for part in expected])


@step("a run stops before a node, and goes on when it is told to")
def _():
    thread = new_thread()
    client.runs.wait(thread, "agent", input=HELLO, interrupt_before=["model"])
    state = client.threads.get_state(thread)
    assert state["next"] == ["model"] and len(state["values"]["messages"]) == 1, state
    assert client.threads.get(thread)["status"] == "interrupted"
    gone_on = client.runs.wait(thread, "agent", input=None)
    assert said(gone_on) == [("human", "hello"), ("ai", ANSWER)], gone_on
    return same(client.threads.get(thread)["status"], "idle")


@step("a run stops after every node")
def _():
    thread = new_thread()
    client.runs.wait(thread, "agent", input=HELLO, interrupt_after="*")
    return same(client.threads.get(thread)["status"] in ("interrupted", "idle"), True)


@step("a graph asks, and goes on with the answer")
def _():
    thread = new_thread()
    asked = client.runs.wait(thread, "ask", input=ASK)
    question = asked["__interrupt__"][0]
    assert question["value"]["question"] == "Publish something about bees?", question
    state = client.threads.get_state(thread)
    assert state["next"] == ["approve"] and state["interrupts"][0]["id"] == question["id"], state
    shown = client.threads.get(thread)
    assert shown["status"] == "interrupted" and list(shown["interrupts"].values())[0][0]["id"] == question["id"], shown
    parts = list(client.runs.stream(thread, "ask", command={"resume": {"decision": "approve"}}, stream_mode=["updates", "values"]))
    assert parts[-1].event == "end", parts
    return same(client.threads.get_state(thread)["values"]["published"], True)


@step("the first of two answers counts, and the other one is told so")
def _():
    thread = new_thread()
    question = client.runs.wait(thread, "ask", input=ASK)["__interrupt__"][0]["id"]
    told = []

    def answer(decision):
        try:
            client.runs.wait(thread, "ask", command={"resume": {question: {"decision": decision}}})
            told.append((decision, None))
        except Exception as error:
            told.append((decision, error.response.json()))

    answers = [threading.Thread(target=answer, args=(decision,)) for decision in ("approve", "reject")]
    for each in answers:
        each.start()
    for each in answers:
        each.join(20)
    winner = next(decision for decision, refused in told if refused is None)
    refused = next(refused for _, refused in told if refused is not None)
    assert refused["code"] == "interrupt_already_answered", refused
    assert refused["answer"]["value"] == {"decision": winner}, (winner, refused)
    published = client.threads.get_state(thread)["values"].get("published", False)
    return same(published, winner == "approve")


@step("a thread is of one graph")
def _():
    thread = new_thread()
    client.runs.wait(thread, "agent", input=HELLO)
    refused = raises(errors.ConflictError, lambda: client.runs.create(thread, "ask", input=ASK))
    return same(refused.code, "thread_of_another_graph")


@step("a state is changed by hand, as a node")
def _():
    thread = new_thread()
    client.runs.wait(thread, "agent", input=HELLO)
    changed = client.threads.update_state(thread, {"messages": [{"role": "human", "content": "by hand"}]}, as_node="model")
    state = client.threads.get_state(thread)
    assert state["checkpoint"]["checkpoint_id"] == changed["checkpoint"]["checkpoint_id"]
    return same((said(state["values"])[-1], state["metadata"]["source"]), (("human", "by hand"), "update"))


@step("history is read, and a run goes on from a checkpoint of it")
def _():
    thread = new_thread()
    client.runs.wait(thread, "agent", input=HELLO)
    history = client.threads.get_history(thread)
    assert [state["next"] for state in history] == [[], ["model"], ["__start__"]] or len(history) >= 2, history
    steps = [state["metadata"]["step"] for state in history]
    assert steps == sorted(steps, reverse=True), steps
    before = next(state for state in history if state["next"] == ["model"])
    at = client.threads.get_state(thread, checkpoint_id=before["checkpoint"]["checkpoint_id"])
    assert said(at["values"]) == [("human", "hello")], at
    assert client.threads.get_state(thread, checkpoint=before["checkpoint"])["values"] == at["values"]
    again = client.runs.wait(thread, "agent", input=None, checkpoint_id=before["checkpoint"]["checkpoint_id"])
    earlier = client.threads.get_history(thread, before=history[0]["checkpoint"], limit=1)
    assert len(earlier) == 1
    return same(said(again), [("human", "hello"), ("ai", ANSWER)])


@step("threads are found by metadata, status, ids and values")
def _():
    mark = str(uuid.uuid4())
    one = client.threads.create(metadata={"mark": mark})["thread_id"]
    two = client.threads.create(metadata={"mark": mark}, graph_id="agent")["thread_id"]
    client.runs.wait(one, "agent", input=HELLO)
    found = client.threads.search(metadata={"mark": mark}, sort_by="created_at", sort_order="asc")
    assert [thread["thread_id"] for thread in found] == [one, two], found
    assert client.threads.count(metadata={"mark": mark}) == 2
    assert len(client.threads.search(metadata={"mark": mark}, status="busy")) == 0
    assert [it["thread_id"] for it in client.threads.search(ids=[two])] == [two]
    picked = client.threads.search(ids=[one], select=["thread_id"], extract={"last": "values.messages[-1].content"})
    assert picked == [{"thread_id": one, "extracted": {"last": ANSWER}}], picked
    return same(len(client.threads.search(metadata={"mark": mark}, values=found[0]["values"])), 1)


@step("threads are described, copied, pruned and deleted")
def _():
    thread = new_thread()
    client.runs.wait(thread, "agent", input=HELLO)
    assert client.threads.update(thread, metadata={"a": 1})["metadata"]["a"] == 1
    copy = client.threads.copy(thread)
    assert copy["thread_id"] != thread and said(copy["values"])[-1] == ("ai", ANSWER), copy
    assert client.threads.prune([copy["thread_id"]], strategy="keep_latest")["pruned_count"] == 1
    assert said(client.threads.get_state(copy["thread_id"])["values"])[-1] == ("ai", ANSWER)
    assert client.threads.prune([copy["thread_id"]])["pruned_count"] == 1
    raises(errors.NotFoundError, lambda: client.threads.get(copy["thread_id"]))
    client.threads.delete(thread)
    return raises(errors.NotFoundError, lambda: client.threads.get(thread)).status_code == 404


@step("a thread is made once under its own id, and with a beginning")
def _():
    own = str(uuid.uuid4())
    client.threads.create(thread_id=own)
    raises(errors.ConflictError, lambda: client.threads.create(thread_id=own))
    assert client.threads.create(thread_id=own, if_exists="do_nothing")["thread_id"] == own
    update = {"values": {"messages": ["hello"]}, "as_node": "__start__"}
    begun = client.threads.create(graph_id="agent", supersteps=[{"updates": [update]}], ttl=60)
    assert said(begun["values"]) == [("human", "hello")], begun
    return same(said(client.runs.wait(begun["thread_id"], "agent", input=None))[-1], ("ai", ANSWER))


@step("a run on a thread that is not there is refused, or makes it")
def _():
    own = str(uuid.uuid4())
    refused = raises(errors.NotFoundError, lambda: client.runs.create(own, "agent", input=HELLO))
    assert refused.code == "thread_not_found", refused.body
    return same(said(client.runs.wait(own, "agent", input=HELLO, if_not_exists="create"))[-1], ("ai", ANSWER))


@step("runs without a thread leave none behind")
def _():
    count = client.threads.count()
    assert said(client.runs.wait(None, "agent", input=HELLO))[-1] == ("ai", ANSWER)
    names = [part.event for part in client.runs.stream(None, "agent", input=HELLO)]
    assert names[0] == "metadata" and names[-1] == "end", names
    runs = client.runs.create_batch([{"assistant_id": "agent", "input": HELLO}, {"assistant_id": "agent", "input": HELLO}])
    assert len({run["thread_id"] for run in runs}) == 2, runs
    deadline = time.monotonic() + 20
    while client.threads.count() > count:
        assert time.monotonic() < deadline, "threads of their own stay"
    return True


@step("a busy thread refuses, and its run is cancelled")
def _():
    thread = new_thread()
    run = client.runs.create(thread, "agent", input=ask("dawdle"))
    reject = lambda: client.runs.create(thread, "agent", input=HELLO, multitask_strategy="reject")
    refused = raises(errors.ConflictError, reject)
    assert (refused.code, refused.body["active_run_id"]) == ("thread_busy", run["run_id"]), refused.body
    client.runs.cancel(thread, run["run_id"], wait=True)
    assert client.runs.get(thread, run["run_id"])["status"] == "interrupted"
    over = raises(errors.ConflictError, lambda: client.runs.cancel(thread, run["run_id"]))
    assert over.code == "run_over", over.body
    return same(said(client.runs.wait(thread, "agent", input=HELLO))[-1], ("ai", ANSWER))


@step("a run takes the place of another one, and one waits its turn")
def _():
    thread = new_thread()
    slow = client.runs.create(thread, "agent", input=ask("dawdle"))
    fast = client.runs.create(thread, "agent", input=HELLO, multitask_strategy="interrupt")
    queued = client.runs.create(thread, "agent", input=HELLO)
    assert said(client.runs.join(thread, queued["run_id"]))[-1] == ("ai", ANSWER)
    states = [client.runs.get(thread, run["run_id"])["status"] for run in (slow, fast, queued)]
    return same(states, ["interrupted", "success", "success"])


@step("what a run did is taken back with it")
def _():
    thread = new_thread()
    client.runs.wait(thread, "agent", input=HELLO)
    slow = client.runs.create(thread, "agent", input=ask("dawdle"))
    client.runs.cancel(thread, slow["run_id"], wait=True, action="rollback")
    raises(errors.NotFoundError, lambda: client.runs.get(thread, slow["run_id"]))
    return same(said(client.threads.get_state(thread)["values"]), [("human", "hello"), ("ai", ANSWER)])


@step("many runs are cancelled at once")
def _():
    threads = [new_thread() for _ in range(3)]
    runs = [client.runs.create(thread, "agent", input=ask("dawdle")) for thread in threads]
    client.runs.cancel_many(run_ids=[run["run_id"] for run in runs])
    for thread, run in zip(threads, runs):
        try:
            client.runs.join(thread, run["run_id"])
        except Exception:
            pass
    return same([client.runs.get(it["thread_id"], it["run_id"])["status"] for it in runs], ["interrupted"] * 3)


@step("a run that fails says why")
def _():
    thread = new_thread()
    failed = client.runs.wait(thread, "agent", input=ask("overload"), raise_error=False)
    assert "slow down" in failed["__error__"]["message"], failed
    parts = list(client.runs.stream(thread, "agent", input=ask("overload")))
    assert parts[-1].event == "error" and "slow down" in parts[-1].data["message"], parts
    return same(client.threads.get(thread)["status"], "error")


@step("whoever listens to a thread hears of all its runs")
def _():
    thread = new_thread()
    heard = []

    def listen():
        for part in client.threads.join_stream(thread, last_event_id="-", stream_mode="run_modes"):
            heard.append(part.event)
            if part.event == "run_done":
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    client.runs.wait(thread, "agent", input=HELLO)
    listener.join(20)
    return same((heard[0], heard[-1], "values" in heard), ("metadata", "run_done", True))


@step("a run begins later")
def _():
    thread = new_thread()
    begun = time.monotonic()
    client.runs.wait(thread, "agent", input=HELLO, after_seconds=1)
    return same(time.monotonic() - begun >= 0.9, True)


@step("items are kept, found, and gone")
def _():
    client.store.put_item(["users", "ada"], "likes", {"food": "pizza", "rank": 3})
    client.store.put_item(["users", "bob"], "likes", {"food": "pasta", "rank": 5}, index=False)
    assert client.store.get_item(["users", "ada"], "likes")["value"]["food"] == "pizza"
    found = client.store.search_items(["users"], filter={"rank": {"$gt": 3}})["items"]
    assert [item["namespace"] for item in found] == [["users", "bob"]], found
    best = client.store.search_items(["users"], query="pizza")["items"]
    assert best[0]["namespace"] == ["users", "ada"] and best[0]["score"] > 0, best
    assert client.store.list_namespaces(prefix=["users"])["namespaces"] == [["users", "ada"], ["users", "bob"]]
    client.store.delete_item(["users", "ada"], "likes")
    return same(client.store.get_item(["users", "ada"], "likes"), None)


@step("crons are made, changed, found and deleted")
def _():
    cron = client.crons.create("agent", schedule="0 9 * * 1-5", input=HELLO, timezone="Europe/Berlin", metadata={"k": 1})
    own = cron["cron_id"]
    assert cron["payload"]["input"] == HELLO and "__owner" not in cron["payload"], cron
    assert [it["cron_id"] for it in client.crons.search(metadata={"k": 1})] == [own]
    assert client.crons.count(assistant_id="agent") == 1
    changed = client.crons.update(own, schedule="0 10 * * *", enabled=False)
    assert (changed["schedule"], changed["enabled"], changed["next_run_date"]) == ("0 10 * * *", False, None)
    raises(errors.UnprocessableEntityError, lambda: client.crons.create("agent", schedule="whenever", input=HELLO))
    client.crons.delete(own)
    return same(client.crons.search(), [])


@step("a cron starts its runs")
def _():
    thread = new_thread()
    cron = client.crons.create_for_thread(thread, "agent", schedule="* * * * * *", input=HELLO)
    deadline = time.monotonic() + 20
    while not client.runs.list(thread, status="success"):
        assert time.monotonic() < deadline, "no run was started"
    client.crons.delete(cron["cron_id"])
    run = client.runs.list(thread)[-1]
    return same(run["metadata"]["cron_id"], cron["cron_id"])


@step("a webhook to our own network is refused")
def _():
    call = lambda: client.runs.create(new_thread(), "agent", input=HELLO, webhook="http://127.0.0.1:9/")
    return same(raises(errors.UnprocessableEntityError, call).code, "webhook_forbidden")


@step("what does not fit is said with its parameter")
def _():
    call = lambda: client.runs.create(new_thread(), "agent", input=HELLO, stream_mode="everything")
    error = raises(errors.UnprocessableEntityError, call)
    assert error.param == "stream_mode", error.body
    return same(raises(errors.NotFoundError, lambda: client.runs.create(None, "nobody")).code, "assistant_not_found")


finish()
