// Receives with dcmjs-dimse. One argument: JSON with port, called, folder, syntaxes and, for TLS, ca,
// certificate and key. Each data set is parsed by dcmjs and written as it came, with a description beside it.
const fs = require('fs');
const path = require('path');
const { Server, Scp } = require('dcmjs-dimse');
const { CEchoResponse, CStoreResponse } = require('dcmjs-dimse').responses;
const { Status, PresentationContextResult, RejectResult, RejectSource, RejectReason } =
  require('dcmjs-dimse').constants;

const task = JSON.parse(process.argv[2]);
let count = 0;

class Receiver extends Scp {
  associationRequested(association) {
    this.association = association;
    if (association.getCalledAeTitle() !== task.called) {
      this.sendAssociationReject(
        RejectResult.Permanent,
        RejectSource.ServiceUser,
        RejectReason.CalledAeNotRecognized
      );
      return;
    }
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      const known = context.getTransferSyntaxUids().find((uid) => task.syntaxes.includes(uid));
      if (known) context.setResult(PresentationContextResult.Accept, known);
      else context.setResult(PresentationContextResult.RejectTransferSyntaxesNotSupported);
    }
    this.sendAssociationAccept();
  }

  cEchoRequest(request, callback) {
    const response = CEchoResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
  }

  createDatasetFromStoreWritableStream(writable, context, callback) {
    this.latest = { data: writable.toBuffer(), syntax: context.getAcceptedTransferSyntaxUid() };
    super.createDatasetFromStoreWritableStream(writable, context, callback);
  }

  cStoreRequest(request, callback) {
    const name = path.join(task.folder, String(++count));
    const said = {
      sop_class: request.getAffectedSopClassUid(),
      sop_instance: request.getAffectedSopInstanceUid(),
      transfer_syntax: this.latest.syntax,
      parsed: request.getDataset().getElement('SOPInstanceUID'),
    };
    fs.writeFileSync(`${name}.dataset`, this.latest.data);
    fs.writeFileSync(`${name}.json`, JSON.stringify(said));
    const response = CStoreResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }

  abort() {}
}

const options = task.ca
  ? {
      securityOptions: {
        ca: fs.readFileSync(task.ca),
        cert: fs.readFileSync(task.certificate),
        key: fs.readFileSync(task.key),
        requestCert: true,
        rejectUnauthorized: true,
      },
    }
  : {};
const server = new Server(Receiver);
server.on('networkError', (error) => console.error(`network error: ${error}`));
server.listen(task.port, options);
