-- What was pulled for releases that are gone with their environment, until the images are gone too. Expands only.
create table orphan_images (
    pin jsonb primary key
);
comment on table orphan_images is 'Images that only deleted environments ran: nobody goes back to them.';
