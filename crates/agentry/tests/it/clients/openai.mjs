// The official OpenAI client for JavaScript over every upstream.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { BASE, KEY, PIXEL, UPSTREAMS, finish, raised, same, step } from "./steps.mjs";

const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY, maxRetries: 0, timeout: 20_000 });
const HELLO = [{ role: "user", content: "hello" }];
const ASK = [{ role: "user", content: "How is the weather in Paris, and what time is it?" }];
const Weather = z.object({ city: z.string(), rain: z.boolean() });

const schema = (field) => ({
  type: "object", properties: { [field]: { type: "string" } }, required: [field], additionalProperties: false,
});
const FUNCTIONS = [
  { name: "get_weather", parameters: schema("city") },
  { name: "get_time", parameters: schema("zone") },
];
const TOOLS = FUNCTIONS.map((one) => ({ type: "function", function: one }));
const CALLS = [["get_weather", { city: "Paris" }], ["get_time", { zone: "Europe/Paris" }]];
const called = (calls) => calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
const answers = (message) => [
  message,
  ...message.tool_calls.map((call, at) => ({ role: "tool", tool_call_id: call.id, content: ["rain", "noon"][at] })),
];

async function chat(upstream) {
  const model = (scenario) => `${upstream}-${scenario}`;
  const create = (fields) => client.chat.completions.create(fields);

  await step(`${upstream}: a whole answer`, async () => {
    const answer = await create({ model: model("hello"), messages: HELLO, max_completion_tokens: 50 });
    same(answer.choices[0].message.content, "Hello to you.");
    same([answer.choices[0].finish_reason, answer.usage.total_tokens], ["stop", 15]);
  });
  await step(`${upstream}: a stream with its bill`, async () => {
    const stream = await create({
      model: model("hello-stream"), messages: HELLO, stream: true, stream_options: { include_usage: true },
    });
    let text = "";
    let last;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      last = chunk;
    }
    same([text, last.choices.length, last.usage.total_tokens], ["Hello to you.", 0, 15]);
  });
  await step(`${upstream}: two tools at once, and on with their answers`, async () => {
    const turn = (await create({ model: model("tools"), messages: ASK, tools: TOOLS })).choices[0];
    same([turn.finish_reason, called(turn.message.tool_calls)], ["tool_calls", CALLS]);
    const last = await create({ model: model("tools"), messages: [...ASK, ...answers(turn.message)], tools: TOOLS });
    same(last.choices[0].message.content, "It rains in Paris.");
  });
  await step(`${upstream}: arguments that arrive in fragments`, async () => {
    const stream = client.chat.completions.stream({ model: model("tools-stream"), messages: ASK, tools: TOOLS });
    const { message } = (await stream.finalChatCompletion()).choices[0];
    same(called(message.tool_calls), CALLS);
    const messages = [...ASK, ...answers(message)];
    const next = client.chat.completions.stream({ model: model("tools-stream"), messages, tools: TOOLS });
    same(await next.finalContent(), "It rains in Paris.");
  });
  await step(`${upstream}: an answer of a given form`, async () => {
    const answer = await client.chat.completions.parse({
      model: model("json"), messages: ASK, response_format: zodResponseFormat(Weather, "weather"),
    });
    same(answer.choices[0].message.parsed, { city: "Paris", rain: true });
  });
  await step(`${upstream}: an image`, async () => {
    const image = { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } };
    const answer = await create({ model: model("image"), messages: [{ role: "user", content: [image] }] });
    same(answer.choices[0].message.content, "Hello to you.");
  });
  await step(`${upstream}: the vendor's limit, and when to come again`, async () => {
    const error = await raised(() => create({ model: model("e429"), messages: HELLO }));
    same([error instanceof OpenAI.RateLimitError, error.headers.get("retry-after")], [true, "7"]);
  });
  await step(`${upstream}: what the vendor does not take is a bad request`, async () => {
    const error = await raised(() => create({ model: model("e400"), messages: HELLO }));
    same([error instanceof OpenAI.BadRequestError, error.type], [true, "invalid_request_error"]);
  });
  await step(`${upstream}: a stream that was cut is an error`, async () => {
    const error = await raised(async () => {
      for await (const _ of await create({ model: model("cut"), messages: HELLO, stream: true }));
    });
    same(error instanceof OpenAI.APIError, true);
  });
  await step(`${upstream}: a caller that leaves in the middle`, async () => {
    const stream = await create({ model: model("hang"), messages: HELLO, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content) {
        same(chunk.choices[0].delta.content, "Hello ");
        break;
      }
    }
  });
}

async function responses(upstream) {
  const model = (scenario) => `${upstream}-${scenario}`;
  const tools = FUNCTIONS.map((one) => ({ type: "function", strict: true, ...one }));

  await step(`${upstream}: Responses`, async () => {
    const answer = await client.responses.create({ model: model("hello"), input: "hello", instructions: "Be brief." });
    same([answer.output_text, answer.status, answer.usage.total_tokens], ["Hello to you.", "completed", 15]);
  });
  await step(`${upstream}: Responses as a stream`, async () => {
    const stream = client.responses.stream({ model: model("hello-stream"), input: "hello" });
    same((await stream.finalResponse()).output_text, "Hello to you.");
  });
  await step(`${upstream}: Responses with tools`, async () => {
    const fields = { model: model("tools-responses"), tools };
    const first = await client.responses.create({ ...fields, input: ASK });
    const calls = first.output.filter((item) => item.type === "function_call");
    same(calls.map((call) => [call.name, JSON.parse(call.arguments)]), CALLS);
    const results = calls.map((call, at) => ({
      type: "function_call_output", call_id: call.call_id, output: ["rain", "noon"][at],
    }));
    const last = await client.responses.create({ ...fields, input: [...ASK, ...first.output, ...results] });
    same(last.output_text, "It rains in Paris.");
  });
}

await step("the models there are", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  same(names.includes("gemini-tools"), true);
});
await step("a model that there is not", async () => {
  const error = await raised(() => client.chat.completions.create({ model: "gpt-9", messages: HELLO }));
  same([error instanceof OpenAI.NotFoundError, error.code], [true, "model_not_found"]);
});
await step("a key that nobody has", async () => {
  const stranger = client.withOptions({ apiKey: "wrong" });
  const error = await raised(() => stranger.chat.completions.create({ model: "chat-hello", messages: HELLO }));
  same(error instanceof OpenAI.AuthenticationError, true);
});
for (const upstream of UPSTREAMS) {
  await chat(upstream);
  await responses(upstream);
}
for (const upstream of ["chat", "gemini"]) {
  await step(`${upstream}: vectors`, async () => {
    const answer = await client.embeddings.create({ model: `${upstream}-embed`, input: ["a", "b"] });
    same(answer.data.map((item) => item.embedding), [[0.5, -0.25], [1, 2]]);
  });
}
finish();
