import { run } from "./read.mjs";

self.onmessage = ({ data: [name, options] }) => run(name, options).then(postMessage, (error) => postMessage({ error: `${error.name}: ${error.message}` }));
