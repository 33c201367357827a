// The whole life of a mapping of each source by the AWS SDK for JavaScript, in the order of calls of
// Terraform and CloudFormation.
//
// Arguments: the directory of npm packages, the daemon's endpoint, and ARNs of a Kinesis stream, a
// DynamoDB stream and a queue. The credentials are an access key of the daemon. Leaves no mapping.

"use strict";

const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const { setTimeout: sleep } = require("node:timers/promises");

const [, , packages, endpoint, kinesis, dynamodb, queue] = process.argv;
const sdk = createRequire(`${packages}/`)("@aws-sdk/client-lambda");

const TIMEOUT_MS = 60_000;

const api = new sdk.Lambda({ endpoint, maxAttempts: 1 });

/** Calls until `done` accepts the result. */
async function until(call, done) {
  const end = Date.now() + TIMEOUT_MS;
  for (;;) {
    const result = await call();
    if (done(result)) return result;
    assert.ok(Date.now() < end, `not in time: ${JSON.stringify(result)}`);
    await sleep(50);
  }
}

/** Waits for a state, and compares the mapping and its tags with what was asked for. */
async function settle(life, state) {
  const get = () => api.getEventSourceMapping({ UUID: life.uuid });
  const mapping = await until(get, (it) => it.State === state);
  for (const [name, value] of Object.entries(life.wanted)) {
    assert.deepEqual(mapping[name], value, name);
  }
  assert.ok(mapping.LastModified instanceof Date);
  const { Tags } = await api.listTags({ Resource: life.arn });
  assert.deepEqual(Tags, life.tags);
}

async function create(source, more) {
  const wanted = { BatchSize: 7, ...more };
  const tags = { team: "images", "a/b": "c d" };
  const members = { FunctionName: "orders", EventSourceArn: source, Tags: tags, ...wanted };
  const created = await api.createEventSourceMapping(members);
  assert.equal(created.State, "Creating");
  assert.equal(created.$metadata.httpStatusCode, 202);
  const life = { uuid: created.UUID, arn: created.EventSourceMappingArn, wanted, tags };
  await settle(life, "Enabled");
  return life;
}

async function update(life, members) {
  await api.updateEventSourceMapping({ UUID: life.uuid, ...members });
  const { Enabled = true, ...wanted } = members;
  Object.assign(life.wanted, wanted);
  return Enabled ? "Enabled" : "Disabled";
}

async function tag(life, Tags, TagKeys) {
  await api.tagResource({ Resource: life.arn, Tags });
  await api.untagResource({ Resource: life.arn, TagKeys });
  Object.assign(life.tags, Tags);
  for (const key of TagKeys) delete life.tags[key];
}

async function change(life) {
  // Tags after settings, and settings after tags.
  const state = await update(life, { BatchSize: 9, MaximumBatchingWindowInSeconds: 1 });
  await tag(life, { team: "words", new: "" }, ["a/b", "absent"]);
  await settle(life, state);
  await tag(life, { team: "films" }, ["new"]);
  await settle(life, await update(life, { BatchSize: 8 }));
  await settle(life, await update(life, { Enabled: false }));
  await settle(life, await update(life, { Enabled: true, BatchSize: 9 }));
}

async function end(life) {
  const deleted = await api.deleteEventSourceMapping({ UUID: life.uuid });
  assert.equal(deleted.State, "Deleting");
  const get = () => api.getEventSourceMapping({ UUID: life.uuid }).catch((error) => error);
  await until(get, (it) => it instanceof sdk.ResourceNotFoundException);
  await assert.rejects(api.listTags({ Resource: life.arn }), sdk.ResourceNotFoundException);
}

async function main() {
  const stream = { StartingPosition: "TRIM_HORIZON", MaximumRetryAttempts: 3 };
  const lives = [
    await create(kinesis, { ...stream, ParallelizationFactor: 2 }),
    await create(dynamodb, { ...stream, BisectBatchOnFunctionError: true }),
    await create(queue, { ScalingConfig: { MaximumConcurrency: 5 } }),
  ];
  const listed = [];
  const settings = { client: api, pageSize: 1 };
  for await (const page of sdk.paginateListEventSourceMappings(settings, {})) {
    listed.push(page.EventSourceMappings.map((mapping) => mapping.UUID));
  }
  assert.equal(listed.length, 3);
  assert.deepEqual(listed.flat().sort(), lives.map((life) => life.uuid).sort());
  for (const life of lives) await change(life);
  for (const life of lives) await end(life);
  const rest = await api.listEventSourceMappings({});
  assert.deepEqual(rest.EventSourceMappings, []);

  const secretAccessKey = "secret-of-nobody";
  const credentials = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey };
  const forged = new sdk.Lambda({ endpoint, maxAttempts: 1, credentials });
  await assert.rejects(forged.listEventSourceMappings({}), { name: "InvalidSignatureException" });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
