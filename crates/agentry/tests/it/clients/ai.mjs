// The AI SDK with its provider for compatible servers, over every upstream.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { BASE, KEY, PIXEL, UPSTREAMS, finish, raised, same, step } from "./steps.mjs";

const provider = createOpenAICompatible({
  name: "agentry", baseURL: `${BASE}/v1`, apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true,
});
const ASK = "How is the weather in Paris, and what time is it?";
const heard = [];
const tools = {
  get_weather: tool({
    description: "by city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => { heard.push(city); return "rain"; },
  }),
  get_time: tool({
    description: "by zone",
    inputSchema: z.object({ zone: z.string() }),
    execute: async ({ zone }) => { heard.push(zone); return "noon"; },
  }),
};
const HEARD = ["Paris", "Europe/Paris"];

async function check(upstream) {
  const model = (scenario) => provider.chatModel(`${upstream}-${scenario}`);
  const base = { maxRetries: 0 };

  await step(`${upstream}: generateText`, async () => {
    const answer = await generateText({ ...base, model: model("hello"), prompt: "hello" });
    same([answer.text, answer.finishReason], ["Hello to you.", "stop"]);
    same([answer.usage.inputTokens, answer.usage.outputTokens], [10, 5]);
  });
  await step(`${upstream}: streamText`, async () => {
    const answer = streamText({ ...base, model: model("hello-stream"), prompt: "hello" });
    let text = "";
    for await (const piece of answer.textStream) text += piece;
    same([text, await answer.finishReason, (await answer.usage).totalTokens], ["Hello to you.", "stop", 15]);
  });
  await step(`${upstream}: tools that are run`, async () => {
    heard.length = 0;
    const answer = await generateText({
      ...base, model: model("tools"), prompt: ASK, tools, stopWhen: stepCountIs(3),
    });
    same([answer.text, answer.steps.length, [...heard].sort()], ["It rains in Paris.", 2, [...HEARD].sort()]);
  });
  await step(`${upstream}: tools that are run while it streams`, async () => {
    heard.length = 0;
    const answer = streamText({
      ...base, model: model("tools-stream"), prompt: ASK, tools, stopWhen: stepCountIs(3),
    });
    await answer.consumeStream();
    same([await answer.text, [...heard].sort()], ["It rains in Paris.", [...HEARD].sort()]);
  });
  await step(`${upstream}: an answer of a given form`, async () => {
    const output = Output.object({ schema: z.object({ city: z.string(), rain: z.boolean() }) });
    const answer = await generateText({ ...base, model: model("json"), prompt: ASK, output });
    same(answer.output, { city: "Paris", rain: true });
  });
  await step(`${upstream}: thoughts`, async () => {
    const answer = await generateText({
      ...base, model: model("think"), prompt: ASK, tools, stopWhen: stepCountIs(3),
    });
    same([answer.text, answer.steps[0].reasoningText], ["It rains in Paris.", "Where is Paris?"]);
  });
  await step(`${upstream}: an image`, async () => {
    const content = [{ type: "image", image: Buffer.from(PIXEL, "base64"), mediaType: "image/png" }];
    const answer = await generateText({ ...base, model: model("image"), messages: [{ role: "user", content }] });
    same(answer.text, "Hello to you.");
  });
  await step(`${upstream}: the vendor's limit, and when to come again`, async () => {
    const error = await raised(() => generateText({ ...base, model: model("e429"), prompt: "hello" }));
    same([APICallError.isInstance(error), error.statusCode, error.isRetryable], [true, 429, true]);
    same(error.responseHeaders["retry-after"], "7");
  });
  await step(`${upstream}: a stream that was cut is an error`, async () => {
    const errors = [];
    const answer = streamText({
      ...base, model: model("cut"), prompt: "hello", onError: ({ error }) => { errors.push(error); },
    });
    await answer.consumeStream();
    same(errors.length > 0, true);
  });
  await step(`${upstream}: a caller that leaves in the middle`, async () => {
    const leaving = new AbortController();
    const answer = streamText({
      ...base, model: model("hang"), prompt: "hello", abortSignal: leaving.signal, onError: () => {},
    });
    for await (const piece of answer.textStream) {
      same(piece, "Hello ");
      leaving.abort();
      break;
    }
  });
}

await step("a model that there is not", async () => {
  const model = provider.chatModel("gpt-9");
  const error = await raised(() => generateText({ model, prompt: "hello", maxRetries: 0 }));
  same([APICallError.isInstance(error), error.statusCode], [true, 404]);
});
for (const upstream of UPSTREAMS) await check(upstream);
for (const upstream of ["chat", "gemini"]) {
  await step(`${upstream}: vectors`, async () => {
    const model = provider.embeddingModel(`${upstream}-embed`);
    const { embeddings } = await embedMany({ model, values: ["a", "b"], maxRetries: 0 });
    same(embeddings, [[0.5, -0.25], [1, 2]]);
  });
}
finish();
