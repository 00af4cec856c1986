// LangGraph's own client for JavaScript over the agent that is always there.

import { Client } from "@langchain/langgraph-sdk";

import { BASE, finish, raised, same, step } from "./steps.mjs";

const client = new Client({ apiUrl: BASE, callerOptions: { maxRetries: 0 } });
const HELLO = { messages: [{ type: "human", content: "hello" }] };
const ANSWER = "Hello to you.";

const said = (state) => state.messages.map((message) => [message.type, message.content]);
const newThread = async () => (await client.threads.create()).thread_id;

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

await step("assistants are found", async () => {
  const [assistant] = await client.assistants.search();
  same(assistant.graph_id, "agent");
  const schemas = await client.assistants.getSchemas(assistant.assistant_id);
  same(schemas.graph_id, "agent");
  const graph = await client.assistants.getGraph("agent", { xray: true });
  same(graph.edges.length, 2);
});

await step("a run is streamed as pieces, updates and values", async () => {
  const created = [];
  const thread = await newThread();
  const parts = await all(
    client.runs.stream(thread, "agent", {
      input: HELLO,
      streamMode: ["values", "updates", "messages-tuple"],
      streamResumable: true,
      onRunCreated: (run) => created.push(run),
    }),
  );
  same(parts[0].event, "metadata");
  same(parts[0].data.run_id, created[0].run_id);
  const pieces = parts.filter((part) => part.event === "messages").map((part) => part.data[0]);
  const text = pieces.filter((piece) => piece.type === "AIMessageChunk").map((piece) => piece.content);
  same(text.join(""), ANSWER);
  const values = parts.filter((part) => part.event === "values").at(-1);
  same(said(values.data), [["human", "hello"], ["ai", ANSWER]]);
  same(parts.at(-1).event, "end");
});

await step("a stream that was left goes on after the last event that was seen", async () => {
  const thread = await newThread();
  const run = await client.runs.create(thread, "agent", { input: HELLO, streamMode: ["values", "updates"] });
  const whole = await all(client.runs.joinStream(thread, run.run_id));
  const seen = whole.findIndex((part) => part.event === "values");
  const rest = await all(client.runs.joinStream(thread, run.run_id, { lastEventId: whole[seen].id }));
  same(rest.map((part) => part.event), whole.slice(seen + 1).map((part) => part.event));
});

await step("a run stops at a breakpoint and is resumed", async () => {
  const thread = await newThread();
  const stopped = await all(client.runs.stream(thread, "agent", { input: HELLO, interruptBefore: ["model"] }));
  same(stopped.at(-1).event, "end");
  const state = await client.threads.getState(thread);
  same(state.next, ["model"]);
  same((await client.threads.get(thread)).status, "interrupted");
  const resumed = await all(client.runs.stream(thread, "agent", { input: null, streamMode: "values" }));
  const values = resumed.filter((part) => part.event === "values").at(-1);
  same(said(values.data), [["human", "hello"], ["ai", ANSWER]]);
  same((await client.threads.getState(thread)).next, []);
});

await step("a graph asks, and goes on with the answer", async () => {
  const thread = await newThread();
  const asked = await all(client.runs.stream(thread, "ask", { input: { topic: "bees" }, streamMode: "values" }));
  const question = asked.findLast((part) => part.event === "values").data.__interrupt__[0];
  same(question.value.question, "Publish something about bees?");
  const resumed = await all(
    client.runs.stream(thread, "ask", { command: { resume: { [question.id]: { decision: "approve" } } }, streamMode: "values" }),
  );
  same(resumed.at(-1).event, "end");
  same((await client.threads.getState(thread)).values.published, true);
});

await step("a state is changed, and its history is read", async () => {
  const thread = await newThread();
  same(said(await client.runs.wait(thread, "agent", { input: HELLO })).length, 2);
  await client.threads.updateState(thread, { values: { messages: "by hand" }, asNode: "model" });
  const history = await client.threads.getHistory(thread);
  same(history[0].metadata.source, "update");
  same(said(history[0].values).at(-1), ["human", "by hand"]);
  const earlier = await client.threads.getState(thread, history[1].checkpoint.checkpoint_id);
  same(said(earlier.values).length, 2);
});

await step("a run is cancelled, and a busy thread refuses another", async () => {
  const thread = await newThread();
  const run = await client.runs.create(thread, "agent", { input: { messages: "dawdle" } });
  const refused = await raised(() => client.runs.create(thread, "agent", { input: HELLO, multitaskStrategy: "reject" }));
  same(refused.status, 409);
  await client.runs.cancel(thread, run.run_id, true);
  same((await client.runs.get(thread, run.run_id)).status, "interrupted");
});

await step("runs without a thread, threads, items and crons", async () => {
  same(said(await client.runs.wait(null, "agent", { input: HELLO })).at(-1), ["ai", ANSWER]);
  const thread = await client.threads.create({ metadata: { from: "js" }, ttl: 60 });
  const found = await client.threads.search({ metadata: { from: "js" } });
  same(found.map((it) => it.thread_id), [thread.thread_id]);
  same(await client.threads.count({ metadata: { from: "js" } }), 1);
  const copy = await client.threads.copy(thread.thread_id);
  await client.threads.delete(copy.thread_id);
  same((await raised(() => client.threads.get(copy.thread_id))).status, 404);
  await client.store.putItem(["a", "b"], "k", { v: 1 });
  same((await client.store.getItem(["a", "b"], "k")).value, { v: 1 });
  same((await client.store.searchItems(["a"])).items.length, 1);
  same((await client.store.listNamespaces()).namespaces, [["a", "b"]]);
  await client.store.deleteItem(["a", "b"], "k");
  same(await client.store.getItem(["a", "b"], "k"), null);
  const cron = await client.crons.create("agent", { schedule: "0 0 * * *", input: HELLO });
  same((await client.crons.search()).map((it) => it.cron_id), [cron.cron_id]);
  await client.crons.delete(cron.cron_id);
});

finish();
