exports.handler = async (event) => {
  for (const record of event.Records) {
    console.log("got", record.body);
  }
};
