// A consumer's session with openapi-fetch and the types that openapi-typescript generated.
// Usage: session.js ADDRESS FACTS, where FACTS is the JSON file that the test wrote.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: {
  argv: string[];
  getBuiltinModule(name: "fs"): { readFileSync(path: string, encoding: "utf8"): string };
};
type Problem = components["schemas"]["Problem"];
type Stage = components["schemas"]["StageEnum"];
type ProblemType = components["schemas"]["ProblemTypeEnum"];

const [address, file] = process.argv.slice(2) as [string, string];
const facts = JSON.parse(process.getBuiltinModule("fs").readFileSync(file, "utf8"));
const fund: number = facts.fund;
const clientOf = (key: string) =>
  createClient<paths>({ baseUrl: address, headers: { Authorization: `Api-Key ${key}` } });
const client = clientOf(facts.key);
// The compiler refuses a kind of problem that is missing here, and one that the schema lacks.
const kinds: Record<ProblemType, true> = {
  "/problems/unknown-stage": true,
  "/problems/invalid-request": true,
  "/problems/malformed-body": true,
  "/problems/body-too-large": true,
  "/problems/not-authenticated": true,
  "/problems/forbidden": true,
  "/problems/not-found": true,
  "/problems/method-not-allowed": true,
  "/problems/not-acceptable": true,
  "/problems/unsupported-media-type": true,
  "/problems/too-many-requests": true,
  "/problems/conflict": true,
  "/problems/idempotency-mismatch": true,
  "/problems/nothing-to-simulate": true,
  "/problems/unavailable": true,
  "/problems/internal": true,
};
const met = new Set<ProblemType>();

// The order of members does not matter.
function text(value: unknown): string {
  return JSON.stringify(value, (_, each) =>
    each !== null && typeof each === "object" && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort())
      : each,
  );
}
function equal(found: unknown, expected: unknown): void {
  if (text(found) !== text(expected))
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
}
async function expect<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  const { data, error } = await answer;
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}
async function problem(answer: Promise<{ error?: Problem }>, type: ProblemType): Promise<Problem> {
  const { error } = await answer;
  equal(error?.type, type);
  met.add(type);
  return error as Problem;
}

const create = (key: string, given: components["schemas"]["StrategyRequest"], once?: string) =>
  clientOf(key).POST("/api/portfolio/strategies", {
    body: given,
    params: { header: once === undefined ? {} : { "Idempotency-Key": once } },
  });

const stages = await expect(client.GET("/api/stages"));
equal(stages.stages.map((each) => each.stage).slice(-2), ["series-c", "series-c+"]);
const listing = await expect(client.GET("/api/deprecations", { parseAs: "json" }));
if (typeof listing === "string") throw new Error("a page");
equal(listing.mode, "enforce");
const { results } = await expect(
  client.POST("/api/stages/normalize", { body: { spellings: ["series c+", "Seires A"] } }),
);
const known: (Stage | null)[] = results.map((each) => each.stage);
equal(known, ["series-c+", null]);

equal((await expect(client.GET("/api/funds"))).funds[0]?.id, fund);
const companies = await expect(
  client.GET("/api/funds/{fund_id}/companies", {
    params: { path: { fund_id: fund }, query: { fields: ["id", "stage"], sort: "-id" } },
  }),
);
equal(companies.companies.map((each) => each.stage), [null, "series-c+", "series-c"]);

// The minimal bodies of the README.
const body = { fund_id: fund, name: "first", stage_allocation: { "series-c": 0.75, "series-c+": 0.25 } };
const dry = client.POST("/api/portfolio/strategies", {
  body,
  params: { header: { Prefer: "handling=dry-run" } },
});
equal("accepted" in (await expect(dry)), true);
const made = await expect(
  client.POST("/api/portfolio/strategies", { body, params: { header: { "Idempotency-Key": "a" } } }),
);
if (!("id" in made)) throw new Error("not stored");
equal(made.stages.map((each) => each.stage), ["series-c", "series-c+"]);
const again = create(facts.key, body, "a");
equal(await expect(again), made);
const one = { params: { path: { strategy_id: made.id } } };
const sentBack = { stage_allocation: made.stage_allocation };
const same = await expect(
  client.PATCH("/api/portfolio/strategies/{strategy_id}", { ...one, body: sentBack }),
);
equal({ ...same, updated_at: made.updated_at }, made);
const changed = await expect(
  client.PATCH("/api/portfolio/strategies/{strategy_id}", { ...one, body: { name: "second" } }),
);
const read = await expect(client.GET("/api/portfolio/strategies/{strategy_id}", one));
equal(read, changed);
equal({ ...read, name: made.name, updated_at: made.updated_at }, made);
equal((await expect(client.GET("/api/portfolio/strategies"))).strategies, [read]);

equal((await expect(client.GET("/api/monte-carlo/profiles"))).recommended, "market-v2");
const simulated = await expect(
  client.POST("/api/monte-carlo/simulate", {
    body: { fund_id: fund, runs: 100, stage_distribution: [{ stage: "series-c+", weight: 1 }] },
  }),
);
if (!("simulation_id" in simulated)) throw new Error("not simulated");
equal(simulated.stage_mix, { "series-c+": 1 });
const shown = await expect(
  client.GET("/api/monte-carlo/simulations/{simulation_id}", {
    params: { path: { simulation_id: simulated.simulation_id } },
  }),
);
equal(shown, simulated);
const simulations = client.GET("/api/portfolio/strategies/{strategy_id}/simulations", one);
equal((await expect(simulations)).simulations, []);

const refused = await problem(
  create(facts.key, { ...body, stage_allocation: { "Seires A": 1 } }),
  "/problems/unknown-stage",
);
equal(refused.errors?.[0]?.code, "unknown_stage");
equal(refused.errors?.[0]?.suggestions, ["series-a"]);
await problem(create(facts.key, { ...body, name: "" }), "/problems/invalid-request");
await problem(create(facts.read_only_key, body), "/problems/forbidden");
await problem(create("a.b", body), "/problems/not-authenticated");
await problem(
  create(facts.key, { ...body, name: "other" }, "a"),
  "/problems/idempotency-mismatch",
);
await problem(
  client.POST("/api/monte-carlo/simulate", { body: { fund_id: facts.empty_fund } }),
  "/problems/nothing-to-simulate",
);
for (let i = 0; i < facts.simulations_a_minute - 2; i++)
  await client.POST("/api/monte-carlo/simulate", { body: { fund_id: facts.empty_fund } });
await problem(
  client.POST("/api/monte-carlo/simulate", { body: { fund_id: fund } }),
  "/problems/too-many-requests",
);
await problem(
  client.POST("/api/stages/normalize", { body: { spellings: Array(1200).fill("x".repeat(2000)) } }),
  "/problems/body-too-large",
);

// What a typed client does not send, and documents that no client can provoke.
const raw = async (path: string, init: RequestInit, type: ProblemType): Promise<void> => {
  const authorization = { Authorization: `Api-Key ${facts.key}` };
  const answer = await fetch(address + path, {
    ...init,
    headers: { ...authorization, ...(init.headers as Record<string, string>) },
  });
  equal(answer.headers.get("Content-Type"), "application/problem+json");
  const found = (await answer.json()) as Problem;
  equal([found.type, found.status], [type, answer.status]);
  met.add(found.type);
};
const json = { "Content-Type": "application/json" };
const normalize = "/api/stages/normalize";
await raw(normalize, { method: "POST", body: "{", headers: json }, "/problems/malformed-body");
await raw(
  normalize,
  { method: "POST", body: "a", headers: { "Content-Type": "text/csv" } },
  "/problems/unsupported-media-type",
);
await raw("/api/funds", { method: "PUT" }, "/problems/method-not-allowed");
await raw("/api/funds", { headers: { Accept: "text/csv" } }, "/problems/not-acceptable");
for (const document of facts.other_problems as Problem[]) met.add(document.type);

const gone = await client.DELETE("/api/portfolio/strategies/{strategy_id}", one);
equal(gone.response.status, 204);
await problem(
  client.DELETE("/api/portfolio/strategies/{strategy_id}", one),
  "/problems/not-found",
);
equal([...met].sort(), Object.keys(kinds).sort());
console.log("done");
