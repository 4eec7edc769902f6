// node node.mjs TASK OPTIONS: prints what the task tells, or an error.
import { run } from "./read.mjs";

const [, , name, options] = process.argv;
run(name, JSON.parse(options)).then(
  (found) => console.log(JSON.stringify(found)),
  (error) => console.log(JSON.stringify({ error: `${error.name}: ${error.message}`, cause: String(error.cause ?? "") })),
);
