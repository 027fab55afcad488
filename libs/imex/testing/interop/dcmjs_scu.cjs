// Sends files, or C-ECHO where there are none, with dcmjs-dimse. One argument: JSON with calling, called,
// host, port, files and, for TLS, ca, certificate and key. Ends with 1 where anything was not answered by success.
const fs = require('fs');
const { Client } = require('dcmjs-dimse');
const { CEchoRequest, CStoreRequest } = require('dcmjs-dimse').requests;
const { Status } = require('dcmjs-dimse').constants;

const task = JSON.parse(process.argv[2]);
let succeeded = 0;
const requests = task.files.length ? task.files.map((path) => new CStoreRequest(path)) : [new CEchoRequest()];
const fail = (words) => {
  console.error(words);
  process.exit(1);
};
const client = new Client();
for (const request of requests) {
  request.on('response', (response) => {
    if (response.getStatus() !== Status.Success) fail(`status ${response.getStatus()}`);
    succeeded += 1;
  });
  client.addRequest(request);
}
client.on('networkError', (error) => fail(`network error: ${error}`));
client.on('associationRejected', (reject) => fail(`rejected: ${JSON.stringify(reject)}`));
client.on('closed', () => {
  if (succeeded !== requests.length) fail(`${succeeded} of ${requests.length}`);
});
const options = task.ca
  ? {
      securityOptions: {
        ca: fs.readFileSync(task.ca),
        cert: fs.readFileSync(task.certificate),
        key: fs.readFileSync(task.key),
        rejectUnauthorized: true,
      },
    }
  : {};
client.send(task.host, task.port, task.calling, task.called, options);
